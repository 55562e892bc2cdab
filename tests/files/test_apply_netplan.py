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


def apply(folder: Path, good: str, back: str = "true") -> subprocess.CompletedProcess[str]:
    """The program, less patient than on a host; after it stands what the links have."""
    path = folder / "etc/netplan/60-vllm-fleet.yaml"
    (folder / "bin").mkdir()
    (folder / "bin/netplan").write_text(NETPLAN.format(path=path, good=good, back=back))
    (folder / "bin/netplan").chmod(0o755)
    request = {
        "path": str(path), "text": "network: {}\n", "netdevs": {"fast0": "192.168.100.1/24"},
        "mtu": 9000,
    }  # fmt: skip
    text = programs.stdin("apply_netplan", request)
    hurried = re.sub(r"^(APPLIED|LOST|SETTLE)_S = \d+$", r"\1_S = 0", text, flags=re.MULTILINE)
    (folder / "program.py").write_text(hurried)
    script = f"{LINKS}\npython3 {folder}/program.py; code=$?; ip -j address show; exit $code"
    return subprocess.run(
        ("unshare", "--net", "sh", "-c", script), capture_output=True, text=True, timeout=60,
        env={**os.environ, "PATH": f"{folder}/bin:{os.environ['PATH']}"}, check=False,
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


def test_an_apply_that_fails_is_told_and_undone(tmp_path: Path) -> None:
    done = apply(tmp_path, "echo no networkd >&2; exit 3")
    assert done.returncode == 1
    assert "fabric: netplan apply ended with 3: no networkd; what was there" in done.stderr
    assert not (tmp_path / "etc/netplan/60-vllm-fleet.yaml").exists()
