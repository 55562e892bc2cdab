"""A release that fails: what serves afterwards, exit code, message, evidence."""

from __future__ import annotations

import time

import pytest

from tests.lab.fault_matrix import S1, S2, S3, S4, TOGETHER, all_of, everywhere, expect
from tests.lab.faulty import EMPTY, FILL, Fleet

HOSTS = 4
pytestmark = pytest.mark.slow
# The mode's ten minutes are too long for a test; the release is edited where it lies.
IMPATIENT = (
    r"sed -i 's/\(ready_timeout_s\|stall_timeout_s\)\(.: \)[0-9]*/\1\28/' "
    "/etc/vllm-fleet/releases/$(basename $(readlink /etc/vllm-fleet/current))/release.json"
)
STATE = "/var/lib/vllm-fleet"


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
