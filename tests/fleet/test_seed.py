"""Seeds for machines that have no system yet."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest
import yaml

from fleet import cli
from fleet.problems import SettingsError
from fleet.seed import Address, Machine, seed

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAINJPf robot@control"
MACHINE = Machine("spark-09", "fleet", KEY)
FIXED = Address("192.0.2.9/24", "192.0.2.1", ("192.0.2.53",))


def test_a_seed_makes_a_user_with_key_and_sudo_and_no_password() -> None:
    files = seed(MACHINE)
    assert files["user-data"].startswith("#cloud-config\n")
    install = yaml.safe_load(files["user-data"])["autoinstall"]
    assert install["version"] == 1
    [user] = install["user-data"]["users"]
    assert (user["name"], user["lock_passwd"]) == ("fleet", True)
    assert user["ssh_authorized_keys"] == [KEY]
    assert install["user-data"]["ssh_pwauth"] is False and install["ssh"]["allow-pw"] is False
    assert install["storage"]["layout"]["sizing-policy"] == "all"
    assert yaml.safe_load(files["meta-data"])["local-hostname"] == "spark-09"


def test_the_watchdog_unit_is_in_place_before_the_first_boot() -> None:
    write, enable = yaml.safe_load(seed(MACHINE)["user-data"])["autoinstall"]["late-commands"]
    assert b"modprobe sbsa_gwdt" in base64.b64decode(write.split()[1])
    assert enable.endswith("systemctl enable vllm-fleet-watchdog.service")


def test_the_watchdog_does_not_end_the_installer_either() -> None:
    install = yaml.safe_load(seed(MACHINE)["user-data"])["autoinstall"]
    assert install["early-commands"] == ["modprobe sbsa_gwdt || true"]


def test_a_fixed_address_belongs_to_one_port() -> None:
    text = seed(Machine("spark-09", "fleet", KEY, "aa:bb:cc:dd:ee:ff", FIXED))["network-config"]
    [port] = yaml.safe_load(text)["ethernets"].values()
    assert port["match"] == {"macaddress": "aa:bb:cc:dd:ee:ff"}
    assert port["addresses"] == ["192.0.2.9/24"] and port["dhcp4"] is False


@pytest.mark.parametrize(
    ("machine", "told"),
    [
        (Machine("Spark_09", "fleet", KEY), "HOST: found 'Spark_09'"),
        (Machine("spark-09", "root", KEY), "--user: found 'root'"),
        (Machine("spark-09", "fleet", "-----BEGIN OPENSSH PRIVATE KEY-----"), "no public key"),
        (Machine("spark-09", "fleet", KEY, None, FIXED), "found no --mac"),
        (
            Machine(
                "a", "b", KEY, "aa:bb:cc:dd:ee:ff", Address("192.0.2.9/24", "198.51.100.1", ())
            ),
            "found gateway 198.51.100.1 outside",
        ),
        (
            Machine("a", "b", KEY, "aa:bb:cc:dd:ee:ff", Address("192.0.2.9/33", "x", ())),
            "--address",
        ),
    ],
)
def test_a_mistake_is_told_and_no_seed_is_made(machine: Machine, told: str) -> None:
    with pytest.raises(SettingsError) as error:
        seed(machine)
    assert any(told in line for line in error.value.problems)
    assert "PRIVATE KEY" not in str(error.value)


def test_the_command_writes_all_machines_or_none(tmp_path: Path) -> None:
    (tmp_path / "key.pub").write_text(KEY + "\n")
    words = ["seed", "--public-key", str(tmp_path / "key.pub"), "--out", str(tmp_path / "out")]
    assert cli.main([*words, "spark-09", "Spark_10"]) == 1
    assert not (tmp_path / "out").exists()
    assert cli.main([*words, "spark-09", "spark-10"]) == 0
    made = {str(p.relative_to(tmp_path / "out")) for p in (tmp_path / "out").rglob("*-*/*")}
    files = ("user-data", "meta-data", "network-config")
    assert made == {f"{host}/{file}" for host in ("spark-09", "spark-10") for file in files}
