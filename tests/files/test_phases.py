"""How an interrupted activation goes on, from every phase."""

from __future__ import annotations

import time
from dataclasses import asdict, replace

import phases
import pytest
from phases import Activation, Course, Phase

OLD, NEW, OLDER = "a" * 12, "b" * 12, "c" * 12
BEGUN = Activation(
    id="1", release=NEW, before=OLD, before_previous=OLDER, who="me", origin="here", why="test",
    boot_id="boot", started=100.0,
)  # fmt: skip


@pytest.mark.parametrize(
    ("phase", "same_boot", "after_boot", "first_after_boot"),
    [
        ("locked", "forward", "revert", "forward"),
        ("draining", "forward", "revert", "forward"),
        ("stopping", "forward", "revert", "forward"),
        ("flipped", "start", "revert", "start"),
        ("starting", "start", "revert", "start"),
        ("gating", "start", "revert", "start"),
        ("reverting", "revert", "revert", "revert"),
        ("restarting", "restart", "restart", "restart"),
        ("regating", "restart", "restart", "restart"),
        ("done", "nothing", "nothing", "nothing"),
    ],
)
def test_every_phase_has_one_way_on(
    phase: Phase, same_boot: Course, after_boot: Course, first_after_boot: Course
) -> None:
    left = replace(BEGUN, phase=phase)
    assert phases.course(left, same_boot=True) == same_boot
    assert phases.course(left, same_boot=False) == after_boot
    assert phases.course(replace(left, before=None), same_boot=False) == first_after_boot


def test_serving_the_same_release_again_has_nothing_to_go_back_to() -> None:
    again = replace(BEGUN, before=NEW, phase="starting")
    assert phases.course(again, same_boot=False) == "start"


def test_the_record_survives_its_json_form_and_a_newer_programs_fields() -> None:
    assert phases.load({**asdict(BEGUN), "from_the_future": 1}) == BEGUN
    assert phases.load({"id": "1"}) is None


@pytest.mark.parametrize(
    ("outcome", "serving"),
    [("switched", NEW), ("unchanged", NEW), ("reverted", OLD), ("revert_failed", None), ("", None)],
)
def test_the_outcome_tells_what_serves(outcome: phases.Outcome, serving: str | None) -> None:
    assert replace(BEGUN, outcome=outcome).serving == serving


def test_the_report_counts_seconds_and_the_time_without_service() -> None:
    under_way = replace(BEGUN, phase="starting", stopped=110.0)
    report = phases.report(under_way, alive=True, now=130.0)
    assert (report["seconds"], report["downtime_s"], report["interrupted"]) == (30.0, 20.0, False)
    done = replace(under_way, served=125.0, finished=127.0, outcome="switched")
    report = phases.report(done, alive=False, now=999.0)
    assert (report["seconds"], report["downtime_s"], report["interrupted"]) == (27.0, 15.0, False)


def test_an_unfinished_one_without_a_process_is_interrupted() -> None:
    assert phases.report(BEGUN, alive=False, now=time.time())["interrupted"] is True
