"""Two hosts serve one model together: they start, die, switch and go back as one."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from typing import Any

import pytest

from lab.testing import Lab
from tests.lab.faulty import CONTROL, Fleet, Ran

HOSTS = 2
PAIR = {"replica": "pair", "tensor_parallel": "2"}
SERVING = "/run/vllm-fleet/serving.json"


@pytest.fixture(scope="module")
def pair(lab: Lab) -> Fleet:
    """One replica of two hosts, from bare."""
    return deployed(lab, "vllm-standin")


def deployed(lab: Lab, image: str, bound_s: float = 420, data: Mapping[str, str] = PAIR) -> Fleet:
    """A replica of two hosts, from bare; no run of it takes longer than ``bound_s``."""
    fleet = Fleet(lab, image=image, bound_s=bound_s)
    ran = fleet.run("deploy.py", **data, vllm_mode=fleet.mode)
    assert ran.code == 0, ran.output[-8000:]
    assert {r["outcome"] for r in ran.hosts.values()} == {"switched"}
    assert all(r["proved"] and r["completion"] for r in ran.hosts.values())
    return fleet


def switch(fleet: Fleet, *words: str, data: Mapping[str, str] = PAIR) -> Ran:
    return fleet.run("switch.py", *words, **data)


def switch_whose_worker_is_killed(fleet: Fleet, data: Mapping[str, str] = PAIR) -> Ran:
    """A switch; the worker's new container is killed soon after it has begun. It is reverted."""
    before, began = fleet.probe("spark-01")["current"], time.monotonic()
    process = fleet.start("switch.py", **data)
    label = "docker inspect -f '{{index .Config.Labels \"vllm-fleet.release\"}}' vllm"
    while (now := fleet.sh("spark-02", label)) in ("", before):
        assert time.monotonic() < began + fleet.bound_s, now
        time.sleep(1)
    time.sleep(5)
    fleet.sh("spark-02", "docker kill vllm")
    failed = fleet.finish(process, began)
    assert failed.code == 3, failed.output[-8000:]
    assert {r["outcome"] for r in failed.hosts.values()} == {"reverted"}
    assert {fleet.probe(host)["current"] for host in fleet.names} == {before}
    assert answers(fleet)
    return failed


def serving(fleet: Fleet, host: str) -> dict[str, Any]:
    return dict(json.loads(fleet.sh(host, f"cat {SERVING}") or "{}"))


def lives(fleet: Fleet) -> dict[str, Any]:
    """Host → the container that serves there, None where none does."""
    return {host: serving(fleet, host).get("container") for host in fleet.names}


def whole_again(fleet: Fleet, before: Mapping[str, Any], bound_s: float = 120) -> float:
    """Seconds until every host serves by another container than before."""
    began = time.monotonic()
    while time.monotonic() < began + bound_s:
        now = lives(fleet)
        if all(now[host] and now[host] != before[host] for host in fleet.names):
            return time.monotonic() - began
        time.sleep(0.5)
    told = {host: fleet.sh(host, "journalctl -u vllm -n 30 -o cat") for host in fleet.names}
    raise AssertionError(f"not whole after {bound_s} s: {told}")


def answers(fleet: Fleet) -> bool:
    said = fleet.sh("spark-01", "python3 -B /usr/local/lib/vllm-fleet/completion.py '{}'")
    return bool(json.loads(said)["ok"])


def test_the_head_has_the_api_and_the_worker_its_rank(pair: Fleet) -> None:
    assert answers(pair)
    assert "--headless" in pair.sh("spark-02", "docker inspect -f '{{.Config.Cmd}}' vllm")
    assert "--node-rank 0" in pair.sh("spark-01", "docker inspect -f '{{.Config.Cmd}}' vllm")
    assert pair.sh("spark-02", "ss -Hltn sport = :8000") == ""
    again = pair.run("deploy.py", **PAIR, vllm_mode=pair.mode)
    assert again.code == 0, again.output[-6000:]
    assert {r["outcome"] for r in again.hosts.values()} == {"serving"}


@pytest.mark.parametrize("host", ["spark-02", "spark-01"])
def test_a_rank_that_is_killed_takes_the_replica_down_and_brings_it_up_whole(
    pair: Fleet, host: str, capsys: pytest.CaptureFixture[str]
) -> None:
    before = lives(pair)
    pair.sh(host, "docker kill vllm")
    took = whole_again(pair, before)
    assert answers(pair)
    with capsys.disabled():
        print(f"\n{host} killed: whole again after {took:.1f} s")


def test_a_part_of_a_replica_is_refused(pair: Fleet) -> None:
    ran = switch(pair, "--limit", "spark-02")
    assert "replica pair: found spark-02 without spark-01" in ran.output and ran.code != 0


def test_a_failing_switch_is_reverted_on_both_hosts(pair: Fleet) -> None:
    before = pair.probe("spark-01")["current"]
    fault = json.dumps({"only": {"max-model-len": 1024}, "crash_at_start": 3})
    pair.lab.write("spark-02", CONTROL, fault)
    ran = switch(pair)
    pair.sh("spark-02", f"rm {CONTROL}")
    assert ran.code == 3, ran.output[-8000:]
    assert {r["outcome"] for r in ran.hosts.values()} == {"reverted"}
    assert {pair.probe(host)["current"] for host in pair.names} == {before}
    assert answers(pair)


def test_the_replica_switches_as_one(pair: Fleet, capsys: pytest.CaptureFixture[str]) -> None:
    ran = switch(pair)
    assert ran.code == 0, ran.output[-8000:]
    assert [r["wave"] for r in ran.hosts.values()] == [0, 0]
    assert len({pair.probe(host)["current"] for host in pair.names}) == 1
    assert pair.probe("spark-01")["length"] == 1024
    with capsys.disabled():
        down = {host: r["downtime_s"] for host, r in ran.hosts.items()}
        print(f"\nswitch of a replica: {ran.seconds:.1f} s, no service {down}")


def test_a_host_that_reboots_finds_its_replica_again(pair: Fleet) -> None:
    before = lives(pair)
    pair.lab.kill("spark-02")
    pair.lab.start("spark-02")
    whole_again(pair, before)
    assert answers(pair)


def test_a_replica_whose_hosts_come_back_unequal_is_not_started(pair: Fleet) -> None:
    module = "$(find /lib/modules -name nvidia.ko)"
    loaded = "cat /proc/driver/nvidia/version"
    pair.sh("spark-02", f"cp {module} /root/kept && sed -i s/580.159.03/580.95.05/ {module}")
    ran = pair.run("upgrade.py", **PAIR)
    assert ran.code != 0 and "Traceback" not in ran.output, ran.output[-8000:]
    assert "580.95.05" in pair.sh("spark-02", loaded)
    assert "skew: driver: found spark-01 580.159.03, spark-02 580.95.05" in ran.output
    assert "vllm.service stays stopped" in ran.output
    assert pair.sh("spark-02", "systemctl is-active vllm") == "inactive"

    pair.sh("spark-02", f"cp /root/kept {module}")
    for host in pair.names:
        pair.sh(host, "systemctl stop vllm; systemctl reset-failed vllm || true")
    ran = pair.run("upgrade.py", **PAIR)
    assert ran.code == 0, ran.output[-8000:]
    assert answers(pair)


def test_a_deploy_whose_reboot_parts_the_hosts_goes_no_further(pair: Fleet) -> None:
    """Firmware that waited for a boot comes with it."""
    host, cmdline = "spark-02", "/etc/lab/bind/proc/cmdline"
    firmware = "/etc/lab/bind/sys/class/dmi/id/bios_version"
    for name in pair.names:
        pair.sh(name, "systemctl stop vllm")
    pair.lab.write(host, cmdline, "ro\n")
    pair.sh(host, f"/usr/lib/lab/bind && rm {cmdline}")
    pair.lab.write(host, firmware, "5.40\n")
    ran = pair.run("deploy.py", **PAIR, vllm_mode=pair.mode)
    assert ran.code != 0 and "Traceback" not in ran.output, ran.output[-8000:]
    assert "kernel command line lacks" not in ran.output and "back after" in ran.output
    for name in pair.names:
        assert f"[{name}] skew: firmware: found spark-01 5.36_0ACUM018, spark-02 5.40" in ran.output
        assert pair.sh(name, "systemctl is-active vllm") != "active"
