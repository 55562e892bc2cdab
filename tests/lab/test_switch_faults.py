"""What a fleet-wide switch does under faults: what serves afterwards, exit code, message, evidence.

One lab of four stand-in hosts, converged once; each case begins with all of them serving one mode
and asks for the other. Where one run can hold several faults it does: the group of all hosts is the
canary, so all switch in one wave, and with ``on_failure=stop`` none goes back for another's fault.
"""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Iterator
from subprocess import Popen

import pytest

from lab.testing import Lab
from tests.lab.faulty import EMPTY, FILL, STANDARD, Fleet, Ran, spoiled_image, table

HOSTS = 4
pytestmark = pytest.mark.slow
S1, S2, S3, S4 = (f"spark-0{i}" for i in range(1, 5))
TOGETHER = {"canary": "spark", "on_failure": "stop"}  # all hosts in one wave, each for itself
RELEASES = "/etc/vllm-fleet/releases"
MODEL = "/srv/models/hub/models--lab--tiny"
HANG_UP = "systemd-run --quiet --collect --on-active=1 loginctl terminate-user fleet"
# The mode's ten minutes are too long for a test; the release is edited where it lies.
IMPATIENT = (
    r"sed -i 's/\(ready_timeout_s\|stall_timeout_s\)\(.: \)[0-9]*/\1\28/' "
    f"{RELEASES}/$(basename $(readlink /etc/vllm-fleet/current))/release.json"
)
STATE = "/var/lib/vllm-fleet"


@pytest.fixture(scope="module")
def converged(lab: Lab) -> Iterator[Fleet]:
    fleet = Fleet(lab)
    done = fleet.run("deploy.py", vllm_mode=STANDARD)
    assert done.code == 0, done.output[-8000:]
    yield fleet


@pytest.fixture
def fleet(converged: Fleet) -> Fleet:
    """Healthy: all hosts serve one mode, no fault is set."""
    converged.healthy()
    return converged


def expect(fleet: Fleet, ran: Ran, code: int, **outcomes: str) -> None:
    """Exit code of the process and in the evidence, and each host's outcome there."""
    assert ran.code == code, ran.output[-8000:]
    assert ran.evidence["exit_code"] == code
    found = {host.replace("-", "_"): record["outcome"] for host, record in ran.hosts.items()}
    assert found == outcomes, ran.output[-8000:]
    for record in ran.hosts.values():
        if record["outcome"] != "not reached":  # only who failed says why
            assert (record["outcome"] in ("switched", "serving")) == (not record["reason"]), record
        if record["outcome"] == "switched" and code == 0:
            assert record["proved"] and record["completion"], record


def all_of(fleet: Fleet, outcome: str) -> dict[str, str]:
    return {name.replace("-", "_"): outcome for name in fleet.names}


def until(process: Popen[str], words: str) -> None:
    """Read what a run says until it says ``words``."""
    assert process.stdout is not None
    for line in process.stdout:
        if words in line:
            return
    raise AssertionError(f"ended before {words!r}")


def everywhere(fleet: Fleet, mode: str) -> dict[str, str]:
    return dict.fromkeys(fleet.names, mode)


def test_releases_that_never_serve(fleet: Fleet) -> None:
    """Four faults, four hosts, one wave: each host goes back by itself."""
    fleet.knobs(S1, never_ready=True)
    fleet.knobs(S2, crash_at_start=3)
    fleet.knobs(S3, served_name="lab/other")
    fleet.knobs(S4, wedge_after_requests=1)  # serves once, then hangs with /health 200
    fleet.on(lambda host: fleet.catch(host, "flipped"), (S1, S4))
    began, process = time.monotonic(), fleet.start(**TOGETHER)
    fleet.caught((S1, S4), process)
    fleet.on(lambda host: fleet.sh(host, IMPATIENT), (S1, S4))
    fleet.on(fleet.go_on, (S1, S4))
    ran = fleet.finish(process, began)
    expect(fleet, ran, 3, **all_of(fleet, "reverted"))
    assert fleet.serves() == everywhere(fleet, fleet.mode)
    for host, fault, told in (
        (S1, "never ready", "(ready_timeout_s 8)"),
        (S2, "crashes at once", "the server exited with 3"),
        (S3, "wrong name", "answers, but serves lab/other, wanted lab/tiny"),
        (S4, "wedged, /health 200", "no progress for 8 s (allowed 8)"),
    ):
        assert told in ran.hosts[host]["reason"] and ran.hosts[host]["log"], ran.hosts[host]
        fleet.row(fault, ran, host, told, fleet.mode)


def test_faults_around_the_flip(fleet: Fleet) -> None:
    fleet.knobs(S1, crash_after_requests=2)
    fleet.knobs(S2, everything=True, crash_at_start=4)  # what runs already goes on
    fleet.catch(S3, "gating")
    fleet.catch(S4, "flipped")
    began, process = time.monotonic(), fleet.start(**TOGETHER)
    fleet.caught([S3, S4], process)
    fleet.lab.run(S3, "systemctl stop docker.socket docker.service")
    fleet.lab.run(S4, FILL.format(STATE))
    fleet.on(fleet.go_on, (S3, S4))
    try:
        ran = fleet.finish(process, began)
        expect(
            fleet, ran, 4,
            spark_01="reverted", spark_02="revert failed", spark_03="reverted", spark_04="reverted",
        )  # fmt: skip
        found = fleet.serves()
    finally:
        fleet.sh(S4, EMPTY.format(STATE))
    assert {**found, S2: ""} == {**everywhere(fleet, fleet.mode), S2: ""}
    assert found[S2].startswith("nothing"), found
    for host, fault, told in (
        (S1, "crashes after the gate's answer", "the server exited with 1"),
        (S2, "previous release broken too", "failed: the server exited with 4"),
        (S3, "Docker stopped during the gate", "Docker"),
        (S4, "disk full during the flip", "No space left on device"),
    ):
        assert told in ran.hosts[host]["reason"], ran.hosts[host]
        fleet.row(fault, ran, host, told, found[host])


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
    """A spoiled model file and a lock whose holder is gone; one host was rebooted before."""
    blob = f"$(ls -S {MODEL}/blobs/* | head -1)"
    fleet.lab.run(S2, f"printf spoiled | dd of={blob} bs=1 seek=64 conv=notrunc")
    owner = {
        "who": "ann", "origin": "desk", "what": "activate x", "since": time.time() - 60,
        "pid": 999_999, "pid_started": 1,
        "boot_id": fleet.sh(S3, "cat /proc/sys/kernel/random/boot_id"),
    }  # fmt: skip
    fleet.lab.write(S3, "/run/lock/vllm-fleet.lock/owner.json", json.dumps(owner))
    fleet.lab.reboot(S4)
    assert fleet.settles(everywhere(fleet, fleet.mode)) == everywhere(fleet, fleet.mode)
    target = fleet.other
    ran = fleet.run(**TOGETHER)
    expect(fleet, ran, 0, **all_of(fleet, "switched"))
    assert fleet.serves() == everywhere(fleet, target)
    assert fleet.sh(S2, f"ls {MODEL}/blobs/*.corrupt")
    fleet.row("blob of the model corrupt on a host", ran, S2, "4 switched", target)
    fleet.row("stale lock", ran, S3, "its process 999999 is gone", target)
    fleet.row("reboot of a serving host", ran, S4, "4 switched", target)


FORWARD = ("draining", "flipped", "starting", "gating")
BACK = ("locked", "reverting", "restarting", "regating")


def phases(fleet: Fleet, wanted: tuple[str, ...]) -> Popen[str]:
    """A run whose hosts stand still, each in its phase."""
    for host, phase in zip(fleet.names, wanted, strict=True):
        fleet.catch(host, phase)
        if phase.startswith("re"):
            fleet.knobs(host, crash_at_start=3)
    process = fleet.start(**TOGETHER)
    fleet.caught(fleet.names, process)
    return process


@pytest.mark.parametrize("wanted", [FORWARD, BACK], ids=["forward", "back"])
def test_a_killed_controller(fleet: Fleet, wanted: tuple[str, ...]) -> None:
    """Each host ends what it began; the next run brings the rest."""
    process, target = phases(fleet, wanted), fleet.other
    process.kill()
    process.communicate()
    fleet.on(fleet.go_on)
    ends = {
        host: fleet.mode if phase.startswith("re") else target
        for host, phase in zip(fleet.names, wanted, strict=True)
    }
    assert fleet.settles(ends) == ends
    fleet.on(fleet.clean)
    ran = fleet.run(**TOGETHER)
    assert ran.code == 0, ran.output[-8000:]
    assert fleet.serves() == everywhere(fleet, target)
    for host, phase in zip(fleet.names, wanted, strict=True):
        fault = f"controller killed in {phase}; next run"
        fleet.row(fault, ran, host, "exit code 0", target)


@pytest.mark.parametrize("wanted", [FORWARD, BACK], ids=["forward", "back"])
def test_a_connection_that_is_cut_and_mended(fleet: Fleet, wanted: tuple[str, ...]) -> None:
    """Two cables are pulled for ten seconds, two sessions are killed; the run follows on."""
    began = time.monotonic()
    process, target = phases(fleet, wanted), fleet.other
    for host in fleet.names:
        fleet.go_on(host, after_s=4)
    for host in (S1, S2):
        fleet.lab.cut(host)
    for host in (S3, S4):
        fleet.lab.run(host, HANG_UP)
    time.sleep(10)
    fleet.on(fleet.lab.mend, (S1, S2))
    ran = fleet.finish(process, began)
    back = {host: phase.startswith("re") for host, phase in zip(fleet.names, wanted, strict=True)}
    outcomes = {
        host.replace("-", "_"): "reverted" if gone else "switched" for host, gone in back.items()
    }
    expect(fleet, ran, 3 if any(back.values()) else 0, **outcomes)
    ends = {host: fleet.mode if gone else target for host, gone in back.items()}
    assert fleet.serves() == ends
    for host, phase in zip(fleet.names, wanted, strict=True):
        fleet.row(
            f"connection lost in {phase}",
            ran,
            host,
            f"[{host}] {outcomes[host.replace('-', '_')]}",
            ends[host],
        )


@pytest.mark.parametrize("wanted", [FORWARD, BACK], ids=["forward", "back"])
def test_a_host_that_loses_power(fleet: Fleet, wanted: tuple[str, ...]) -> None:
    """Booted again while the run waits, each serves what it served before."""
    began = time.monotonic()
    process = phases(fleet, wanted)
    fleet.on(fleet.lab.kill)
    fleet.on(fleet.lab.start)
    ran = fleet.finish(process, began)
    expect(fleet, ran, 3, **all_of(fleet, "reverted"))
    assert fleet.serves() == everywhere(fleet, fleet.mode)
    for host, phase in zip(fleet.names, wanted, strict=True):
        assert f"the host went down in phase {phase}" in ran.hosts[host]["reason"]
        told = f"went down in phase {phase}"
        fleet.row(f"power lost in {phase}, booted again", ran, host, told, fleet.mode)


def test_two_operators(fleet: Fleet) -> None:
    """The second is told who is at work; with break_lock it takes over, and the first is told."""
    target = fleet.other
    fleet.catch(S1, "starting")
    began, first = time.monotonic(), fleet.start()
    fleet.caught([S1], first)
    second = fleet.run()
    assert second.code == 1, second.output[-8000:]
    assert second.hosts[S1]["outcome"] == "refused"
    told = "--data break_lock=true"
    assert "is held by root from" in second.line(told)
    fleet.row("two operators at once: the second", second, S1, told, "")
    taking = fleet.run(break_lock="true", vllm_mode=fleet.mode)
    expect(fleet, taking, 0, **{**all_of(fleet, "serving"), "spark_01": "switched"})
    fleet.row("lock broken: who broke it", taking, S1, "took over the lock of root", fleet.mode)
    ran = fleet.finish(first, began)
    assert ran.code == 1 and ran.hosts[S1]["outcome"] == "refused", ran.output[-8000:]
    assert {ran.hosts[host]["outcome"] for host in (S2, S3, S4)} == {"untouched"}
    fleet.row("lock broken: whose it was", ran, S1, "was ended by root", fleet.mode)
    assert target != fleet.mode and fleet.serves() == everywhere(fleet, fleet.mode)


def test_a_failing_canary_leaves_the_rest_untouched(fleet: Fleet) -> None:
    fleet.knobs(S3, crash_at_start=3)
    ran = fleet.run(canary=S3)
    outcomes = all_of(fleet, "untouched") | {"spark_03": "reverted"}
    expect(fleet, ran, 3, **outcomes)
    assert fleet.serves() == everywhere(fleet, fleet.mode)
    fleet.row("canary fails", ran, S1, "because of spark-03", fleet.mode)


def test_a_second_wave_that_fails(fleet: Fleet) -> None:
    """Under revert all go back, under stop only the failing host; the next run heals the rest."""
    target = fleet.other
    fleet.knobs(S3, crash_at_start=3)
    ran = fleet.run(wave_size="2")
    expect(
        fleet, ran, 3,
        spark_01="reverted", spark_02="reverted", spark_03="reverted", spark_04="untouched",
    )  # fmt: skip
    assert fleet.serves() == everywhere(fleet, fleet.mode)
    fleet.row("second wave fails, on_failure=revert", ran, S1, "went back because", fleet.mode)
    ran = fleet.run(wave_size="2", on_failure="stop")
    expect(
        fleet, ran, 3,
        spark_01="switched", spark_02="switched", spark_03="reverted", spark_04="untouched",
    )  # fmt: skip
    ends = {S1: target, S2: target, S3: fleet.mode, S4: fleet.mode}
    assert fleet.serves() == ends
    fleet.row("second wave fails, on_failure=stop", ran, S3, "2 switched, 1 reverted", fleet.mode)
    fleet.on(fleet.clean)
    healed = fleet.run()
    expect(
        fleet, healed, 0,
        spark_01="serving", spark_02="serving", spark_03="switched", spark_04="switched",
    )  # fmt: skip
    assert fleet.serves() == everywhere(fleet, target)
    fleet.row("… and the next run", healed, S3, "2 serving, 2 switched", target)


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


def test_a_host_lost_while_it_switches(fleet: Fleet) -> None:
    """It counts as lost after ``lost_after_s``; what it began ends there."""
    target = fleet.other
    fleet.catch(S2, "stopping")
    began, process = time.monotonic(), fleet.start(lost_after_s="10", wave_size="1")
    fleet.caught([S2], process)
    fleet.go_on(S2, after_s=2)
    fleet.lab.cut(S2)
    ran = fleet.finish(process, began)
    fleet.lab.mend(S2)
    expect(
        fleet, ran, 5,
        spark_01="reverted", spark_02="lost", spark_03="untouched", spark_04="untouched",
    )  # fmt: skip
    ends = {**everywhere(fleet, fleet.mode), S2: target}
    assert fleet.settles(ends) == ends
    fleet.row("host lost while it switches", ran, S2, "no answer for 10 s", target)


def test_a_host_lost_while_it_stages(fleet: Fleet) -> None:
    began, process = time.monotonic(), fleet.start(vllm_args='{"max-num-seqs": 3}')
    until(process, "Arguments | ")
    fleet.lab.cut(S4)
    ran = fleet.finish(process, began)
    fleet.lab.mend(S4)
    assert ran.code == 1 and ran.seconds < 180, ran.output[-8000:]
    assert {r["outcome"] for r in ran.hosts.values()} == {"not reached"}
    assert fleet.serves() == everywhere(fleet, fleet.mode)
    fleet.row("host lost while it stages", ran, S4, "the connection broke", fleet.mode)


def test_ctrl_c(fleet: Fleet) -> None:
    """The host under way ends what it began, the others keep serving what they served."""
    target = fleet.other
    fleet.catch(S1, "starting")
    began, process = time.monotonic(), fleet.start()
    fleet.caught([S1], process)
    process.send_signal(signal.SIGINT)
    ran = fleet.finish(process, began)
    expect(fleet, ran, 130, **{**all_of(fleet, "untouched"), "spark_01": "lost"})
    fleet.go_on(S1)
    ends = {**everywhere(fleet, fleet.mode), S1: target}
    assert fleet.settles(ends) == ends
    fleet.row("Ctrl-C", ran, S1, "stopped by the operator", target)


def test_the_table(converged: Fleet, capsys: pytest.CaptureFixture[str]) -> None:
    """What the cases above found, for a person."""
    with capsys.disabled():
        print(f"\n{table(converged.rows)}")
    assert converged.rows
