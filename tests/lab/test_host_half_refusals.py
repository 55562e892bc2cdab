"""A host that is not fit is refused in one line with its remedy, and left as it was."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from lab import supply
from lab.supply import tamper
from lab.testing import Lab
from tests.lab.host_half_support import converge, refused, state

HOSTS = 2


@pytest.mark.parametrize(
    "key", ["nvidia_key_fingerprint", "toolkit_key_fingerprint", "docker_key_fingerprint"]
)
def test_a_key_with_another_fingerprint_is_not_trusted(lab: Lab, key: str) -> None:
    refused(lab, "found key", "not trusted", "A" * 40, **{key: "A" * 40})


@pytest.mark.parametrize(
    ("owner", "way"),
    [
        ("nvidia", tamper.other_key),
        ("nvidia", tamper.edited_release),
        ("docker", tamper.changed_index),
        ("toolkit", tamper.unsigned),
    ],
)
def test_a_tampered_repository_is_refused_before_anything_changes(
    lab: Lab, way: tamper.Way, owner: str
) -> None:
    with tamper.spoilt(lab.state.run, supply.prepare(lab.state.arch), owner, way):
        refused(lab, "refused by apt")


def test_a_pin_that_the_repository_has_not_is_told_with_what_there_is(lab: Lab) -> None:
    refused(lab, "libnvidia-container", "1.20.0-1", "9.9.9-1", toolkit_version="9.9.9-1")


@pytest.mark.parametrize(
    ("data", "told"),
    [
        ({"disk_reserve_gib": "100000"}, ["disk", "GiB free", "100000 GiB to spare"]),
        ({"host_arch": "arm64"}, ["architecture", "amd64", "arm64"]),
    ],
)
def test_a_wish_the_host_cannot_meet_is_told(
    lab: Lab, data: dict[str, str], told: list[str]
) -> None:
    refused(lab, *told, **data)


def second_definition(lab: Lab) -> None:
    line = "deb https://download.docker.com/linux/ubuntu noble stable\n"
    lab.write("spark-01", "/etc/apt/sources.list.d/docker.list", line)


def half_configured(lab: Lab) -> None:
    script = "sed -i '/^Package: less$/,/^Status/s/^Status:.*/Status: install ok half-configured/'"
    lab.run("spark-01", f"{script} /var/lib/dpkg/status")


def no_initrd(lab: Lab) -> None:
    lab.run("spark-01", "truncate -s 0 /boot/initrd.img-6.17.0-14-generic")


def broken_daemon_json(lab: Lab) -> None:
    lab.write("spark-01", "/etc/docker/daemon.json", '{"mtu": 9000,}')


def foreign_server(lab: Lab) -> None:
    lab.run("spark-01", "systemd-run --unit=foreign python3 -m http.server 8000")
    lab.run("spark-01", "until ss -tln | grep -q :8000; do sleep 0.1; done")


def no_gb10(lab: Lab) -> None:
    lab.write("spark-01", "/etc/lab/bind/sys/bus/pci/devices/000f:01:00.0/device", "0x2335\n")
    lab.run("spark-01", "/usr/lib/lab/bind")


def little_memory(lab: Lab) -> None:
    lab.write(
        "spark-01", "/etc/lab/bind/proc/meminfo", "MemTotal: 127000000 kB\nMemAvailable: 9 kB\n"
    )
    lab.run("spark-01", "/usr/lib/lab/bind")


def other_system(lab: Lab) -> None:
    lab.run("spark-01", "sed -i 's/24.04/22.04/' /usr/lib/os-release")


@pytest.mark.parametrize(
    ("fault", "told"),
    [
        (second_definition, ["apt sources", "docker.list", "rm /etc/apt"]),
        (half_configured, ["dpkg", "less half-configured", "dpkg --configure -a"]),
        (no_initrd, ["initrd", "missing or empty", "update-initramfs -c -k"]),
        (broken_daemon_json, ["daemon.json", "no valid JSON", "by hand"]),
        (foreign_server, ["port 8000", "http.server", "stop it"]),
        (no_gb10, ["gpu", "10de:2335", "10de:2e12"]),
        (little_memory, ["memory", "0.0 GiB available", "ps aux"]),
        (other_system, ["platform", "Ubuntu 22.04", "reinstall"]),
    ],
)
def test_a_fault_on_the_host_is_told_with_its_remedy(
    lab: Lab, fault: Callable[[Lab], None], told: list[str]
) -> None:
    lab.reset("spark-01")
    fault(lab)
    refused(lab, *told)


def test_a_known_bad_kernel_is_refused_in_a_replica(lab: Lab) -> None:
    lab.reset("spark-01")
    lab.run("spark-01", "touch /boot/vmlinuz-7.0.0-1019-nvidia && update-initramfs -c -k all")
    lab.run("spark-01", "update-grub")
    lab.reboot("spark-01")
    assert lab.text("spark-01", "uname -r") == "7.0.0-1019-nvidia"
    refused(lab, "known bad", "kho=off", replica="pair", tensor_parallel="2")


def test_hosts_of_one_replica_that_differ_are_refused_both(lab: Lab) -> None:
    lab.reset()
    lab.write("spark-02", "/etc/lab/bind/sys/class/dmi/id/bios_version", "5.40\n")
    lab.run("spark-02", "/usr/lib/lab/bind")
    before = [state(lab, host) for host in lab.names]
    done = converge(lab, replica="pair", tensor_parallel="2")
    assert done.returncode != 0
    for host in lab.names:
        assert (
            f"[{host}] skew: firmware: found spark-01 5.36_0ACUM018, spark-02 5.40" in done.stdout
        )
    assert [state(lab, host) for host in lab.names] == before
