"""The netplan program with real links, in a network namespace of its own.

netplan itself stands in: no networkd runs there. The stand-in takes any file, and ``apply`` does to
the links what the test says, as long as our file is there.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path

import pytest

from deploys import programs

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="network namespaces need root")
NETPLAN = """#!/bin/sh
case "$1" in
get) case "$4" in *.mtu) echo 9000;; *.dhcp4) echo false;; *) echo 192.168.100.1/24;; esac;;
apply) if [ -e {path} ]; then {good}; else {back}; fi;;
esac
"""
LINKS = """
ip link add fast0 type veth peer name slow0
ip link set fast0 up; ip link set slow0 up; ip address add 10.0.0.1/24 dev slow0
"""
CONFIGURE = "ip link set fast0 mtu 9000; ip address add 192.168.100.1/24 dev fast0"
CUT = "ip address del 10.0.0.1/24 dev slow0"
LEASE = "ip address add 10.1.0.7/24 dev slow0 valid_lft 600 preferred_lft 600"
OTHER_LEASE = LEASE.replace("10.1.0.7", "10.1.0.8")


def apply(
    folder: Path, good: str, back: str = "true", *, had: str = "true", managed: bool = False
) -> subprocess.CompletedProcess[str]:
    """The program, less patient than on a host; after it stands what the links have.

    ``had`` makes what else they have before; ``managed``: by NetworkManager, and our SSH connection
    came in on 10.1.0.7.
    """
    path = folder / "etc/netplan/60-vllm-fleet.yaml"
    (folder / "bin").mkdir()
    (folder / "bin/netplan").write_text(NETPLAN.format(path=path, good=good, back=back))
    (folder / "bin/nmcli").write_text(f"#!/bin/sh\necho {'' if managed else 'not '}running\n")
    for program in (folder / "bin").iterdir():
        program.chmod(0o755)
    request = {
        "path": str(path), "text": "network: {}\n", "netdevs": {"fast0": "192.168.100.1/24"},
        "mtu": 9000,
    }  # fmt: skip
    text = programs.stdin_with_siblings("apply_netplan", request)
    hurried = re.sub(r"(APPLIED|LOST|SETTLE)_S = \d+", r"\1_S = 0", text)
    hurried = re.sub(r"NETWORK_MANAGER_S = \d+", "NETWORK_MANAGER_S = 3", hurried)
    (folder / "program.py").write_text(hurried)
    script = f"{LINKS}\n{had}\npython3 {folder}/program.py; code=$?; ip -j address show; exit $code"
    return subprocess.run(
        ("unshare", "--net", "sh", "-c", script), capture_output=True, text=True, timeout=60,
        env={**os.environ, "PATH": f"{folder}/bin:{os.environ['PATH']}",
             "SSH_CONNECTION": "10.0.0.200 40000 10.1.0.7 22"}, check=False,
    )  # fmt: skip


def addresses(done: subprocess.CompletedProcess[str], netdev: str) -> list[str]:
    [link] = [x for x in json.loads(done.stdout.splitlines()[-1]) if x["ifname"] == netdev]
    return [one["local"] for one in link["addr_info"] if one["scope"] == "global"]


def test_the_file_is_written_and_the_links_are_as_wanted(tmp_path: Path) -> None:
    done = apply(tmp_path, CONFIGURE)
    assert done.returncode == 0, done.stderr
    assert addresses(done, "fast0") == ["192.168.100.1"]
    path = tmp_path / "etc/netplan/60-vllm-fleet.yaml"
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_file_that_takes_another_address_away_is_taken_back(tmp_path: Path) -> None:
    done = apply(tmp_path, f"{CONFIGURE}; {CUT}", back="ip address add 10.0.0.1/24 dev slow0")
    assert done.returncode == 1
    assert done.stderr.strip().endswith(
        "fabric: netplan apply took away slow0 10.0.0.1/24; see what else netplan manages; "
        "what was there before is back"
    )
    assert addresses(done, "slow0") == ["10.0.0.1"]
    assert not (tmp_path / "etc/netplan/60-vllm-fleet.yaml").exists()


def test_an_address_that_netplan_does_not_give_back_is_put_back(tmp_path: Path) -> None:
    done = apply(tmp_path, f"{CONFIGURE}; {CUT}")
    assert done.returncode == 1
    assert "put back without netplan, until the next boot: 10.0.0.1/24 on slow0" in done.stderr
    assert addresses(done, "slow0") == ["10.0.0.1"]


def test_addresses_that_ipv6_replaces_for_privacy_may_go(tmp_path: Path) -> None:
    """The kernel makes a temporary one of the first; the other is deprecated."""
    had = """
    sysctl -qw net.ipv6.conf.slow0.use_tempaddr=2
    ip address add fd00::5/64 dev slow0 mngtmpaddr nodad valid_lft 7200 preferred_lft 7000
    ip address add fd00::6/64 dev slow0 nodad valid_lft 7200 preferred_lft 0
    sleep 1; ip address show dev slow0 | grep -q temporary || exit 99
    """
    gone = "ip address flush dev slow0 temporary; ip address del fd00::6/64 dev slow0"
    done = apply(tmp_path, f"{CONFIGURE}; {gone}", had=had)
    assert done.returncode == 0, done.stderr
    assert addresses(done, "slow0") == ["10.0.0.1", "fd00::5"]


def test_a_lease_that_is_put_back_still_ends(tmp_path: Path) -> None:
    lost = "ip address del 10.1.0.7/24 dev slow0"
    done = apply(tmp_path, f"{CONFIGURE}; {lost}", had=LEASE)
    assert done.returncode == 1
    assert "10.1.0.7/24 on slow0 for " in done.stderr
    assert "10.0.0.1" not in done.stderr
    [link] = [x for x in json.loads(done.stdout.splitlines()[-1]) if x["ifname"] == "slow0"]
    [lease] = [one for one in link["addr_info"] if one["local"] == "10.1.0.7"]
    assert lease["dynamic"] and 500 < lease["valid_life_time"] <= 600


def test_networkmanager_may_get_another_lease(tmp_path: Path) -> None:
    other = "ip address del 10.1.0.8/24 dev slow0; ip address add 10.1.0.9/24 dev slow0"
    done = apply(tmp_path, f"{CONFIGURE}; {other}", had=OTHER_LEASE, managed=True)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "etc/netplan/60-vllm-fleet.yaml").exists()


@pytest.mark.parametrize("address", ["10.0.0.1/24", "10.1.0.7/24"], ids=["static", "ours"])
def test_networkmanager_has_time_to_give_an_address_back(tmp_path: Path, address: str) -> None:
    lost, back = (f"ip address {verb} {address} dev slow0" for verb in ("del", "add"))
    late = f"{CONFIGURE}; {lost}; (sleep 1; {back}) > /dev/null 2>&1 &"
    done = apply(tmp_path, f"{{ {late} }}", had=LEASE, managed=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("address", ["10.0.0.1/24", "10.1.0.7/24"], ids=["static", "ours"])
def test_an_address_that_networkmanager_does_not_give_back_is_put_back(
    tmp_path: Path, address: str
) -> None:
    done = apply(
        tmp_path, f"{CONFIGURE}; ip address del {address} dev slow0", had=LEASE, managed=True
    )
    assert done.returncode == 1
    assert f"{address} on slow0" in done.stderr
    assert address.split("/")[0] in addresses(done, "slow0")


def test_an_apply_that_fails_is_told_and_undone(tmp_path: Path) -> None:
    done = apply(tmp_path, "echo no networkd >&2; exit 3")
    assert done.returncode == 1
    assert "fabric: netplan apply ended with 3: no networkd; what was there" in done.stderr
    assert not (tmp_path / "etc/netplan/60-vllm-fleet.yaml").exists()
