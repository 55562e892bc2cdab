"""What cannot be staged stops a switch while all hosts still serve; what can be mended is."""

from __future__ import annotations

import json
import time

import pytest

from tests.lab.fault_matrix import S1, S2, S3, S4, TOGETHER, all_of, everywhere, expect, until
from tests.lab.faulty import EMPTY, FILL, Fleet
from tests.lab.spoiled import spoiled_image

HOSTS = 4
pytestmark = pytest.mark.slow
RELEASES = "/etc/vllm-fleet/releases"
MODEL = "/srv/models/hub/models--lab--tiny"


def stage_refusals() -> list[tuple[str, str, str, dict[str, str], str]]:
    """Fault, command on spark-04 before and after, data of the run, what is told."""
    absent = "registry.lab:5000/vllm-standin@sha256:" + "0" * 64
    releases, new = EMPTY.format(RELEASES), {"vllm_args": '{"max-num-seqs": 3}'}
    return [
        ("image not in the registry", "true", "true", {"vllm_image": absent}, "not found"),
        (
            "disk full while staging",
            FILL.format(RELEASES),
            releases,
            new,
            "No space left on device",
        ),
    ]


def test_what_cannot_be_staged_stops_the_run_before_anything_stops(fleet: Fleet) -> None:
    for fault, before, after, data, told in stage_refusals():
        fleet.lab.run(S4, before)
        containers = fleet.on(lambda host: fleet.sh(host, "docker inspect -f {{.Id}} vllm"))
        try:
            ran = fleet.run(**{**fleet.data(), **data})
        finally:
            fleet.sh(S4, after)
        expect(fleet, ran, 1, **all_of(fleet, "not reached"))
        assert containers == fleet.on(lambda host: fleet.sh(host, "docker inspect -f {{.Id}} vllm"))
        assert fleet.serves() == everywhere(fleet, fleet.mode)
        fleet.row(fault, ran, S4, told, fleet.mode)


def test_a_spoiled_image_is_not_taken(fleet: Fleet) -> None:
    image = spoiled_image(fleet.lab)
    ran = fleet.run(vllm_image=image)
    expect(fleet, ran, 1, **all_of(fleet, "not reached"))
    assert fleet.serves() == everywhere(fleet, fleet.mode)
    fleet.row("blob of the image corrupt in the registry", ran, S1, "verif", fleet.mode)


def test_what_a_switch_mends_on_its_way(fleet: Fleet) -> None:
    """Spoiled model files, one found at the boot; a lock whose holder is gone; a reboot before."""
    blob = f"$(ls -S {MODEL}/blobs/* | head -1)"
    for host in (S1, S2):
        fleet.lab.run(host, f"printf spoiled | dd of={blob} bs=1 seek=64 conv=notrunc")
    owner = {
        "who": "ann", "origin": "desk", "what": "activate x", "since": time.time() - 60,
        "pid": 999_999, "pid_started": 1,
        "boot_id": fleet.sh(S3, "cat /proc/sys/kernel/random/boot_id"),
    }  # fmt: skip
    fleet.lab.write(S3, "/run/vllm-fleet.lock/owner.json", json.dumps(owner))
    fleet.on(fleet.lab.reboot, (S1, S4))
    fleet.says(S1, "missing or not as locked")
    others = dict.fromkeys((S2, S3, S4), fleet.mode)
    found = fleet.settles(others)
    assert found.pop(S1).startswith("nothing") and found == others
    target = fleet.other
    ran = fleet.run(**TOGETHER)
    expect(fleet, ran, 0, **all_of(fleet, "switched"))
    assert fleet.serves() == everywhere(fleet, target)
    for host in (S1, S2):
        assert fleet.sh(host, f"ls {MODEL}/blobs/*.corrupt")
    fleet.row("blob of the model corrupt at boot: refused; next run", ran, S1, "4 switched", target)
    fleet.row("blob of the model corrupt on a host", ran, S2, "4 switched", target)
    fleet.row("stale lock", ran, S3, "its process 999999 is gone", target)
    fleet.row("reboot of a serving host", ran, S4, "4 switched", target)


def test_hosts_out_of_reach_and_too_few_slots(fleet: Fleet) -> None:
    few = fleet.run("switch.py", "--parallel", "2")
    assert few.code == 1 and "evidence" not in few.output, few.output[-4000:]
    fleet.row("PARALLEL smaller than the fleet", few, S1, "PARALLEL: found 2", fleet.mode)
    fleet.lab.cut(S4)
    ran = fleet.run()
    fleet.lab.mend(S4)
    assert ran.code == 1 and ran.seconds < 60, ran.output[-4000:]
    assert "--exclude spark-04" in ran.line("unreachable: spark-04")
    fleet.row("host unreachable at start", ran, S4, "unreachable: spark-04", fleet.mode)
    assert fleet.serves() == everywhere(fleet, fleet.mode)


def test_hosts_lost_while_they_stage(fleet: Fleet) -> None:
    """One is cut off; the other freezes, and so keeps its connection."""
    began, process = time.monotonic(), fleet.start(vllm_args='{"max-num-seqs": 3}')
    until(process, "Arguments | ")
    fleet.lab.cut(S3)
    fleet.lab.freeze(S4)
    try:
        ran = fleet.finish(process, began)
    finally:
        fleet.lab.mend(S3)
        fleet.lab.thaw(S4)
    assert ran.seconds < 180, ran.seconds
    lost = {"spark_03": "lost", "spark_04": "lost"}
    expect(fleet, ran, 5, **all_of(fleet, "not reached") | lost)
    assert fleet.serves() == everywhere(fleet, fleet.mode)
    for host, fault in ((S3, "host lost while it stages"), (S4, "host freezes while it stages")):
        assert "the connection broke" in ran.hosts[host]["reason"]
        fleet.row(fault, ran, host, "2 not reached, 2 lost", fleet.mode)


def test_docker_that_is_down_already(fleet: Fleet) -> None:
    fleet.lab.run(S2, "systemctl stop docker.socket docker.service")
    try:
        ran = fleet.run()
    finally:
        fleet.lab.run(S2, "systemctl start docker.socket docker.service")
    expect(fleet, ran, 1, **all_of(fleet, "not reached"))
    told = "Docker does not answer"
    assert told in ran.hosts[S2]["reason"], ran.hosts[S2]
    found = fleet.serves()
    assert {**found, S2: ""} == {**everywhere(fleet, fleet.mode), S2: ""}
    fleet.row("Docker down already", ran, S2, told, found[S2])
