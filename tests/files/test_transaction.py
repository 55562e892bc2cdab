"""The transaction in folders of its own, with a systemctl that does as it is told."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import activate
import bootguard
import hostlock
import journal
import layout
import phases
import pytest
import recovery
import release as releases
import transaction
from phases import Phase
from transaction import Transaction

from tests.files.activated_host import A, ActivatedHost, B, activated_host, begun


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ActivatedHost:
    return activated_host(tmp_path, monkeypatch)


def test_failed_starts_are_forgotten_once_and_not_by_a_boot_that_goes_on(
    host: ActivatedHost,
) -> None:
    """Else a first release that freezes the host freezes it at every boot."""
    for _ in range(bootguard.LIMIT):
        bootguard.begin(A)
    host.unit(start_ends=1)
    done = Transaction(replace(begun(A, None), phase="starting")).run("start")
    assert (done.outcome, bootguard.failures(A)[0]) == ("reverted", bootguard.LIMIT)
    hostlock.take(owner := hostlock.owner("ann", "desk", "activate"))
    activate.launch(begun(A, None), owner)
    assert bootguard.failures(A) == (0, "")


def test_a_stop_that_does_not_end_leaves_the_links_on_the_release_before(
    host: ActivatedHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transaction, "STOP_MARGIN_S", 0.3)
    releases.point(current=B, previous=A)
    host.unit(active="deactivating", stop_takes=5)
    done = Transaction(replace(begun(B, A), phase="reverting", reason="refuted")).run("revert")
    assert done.outcome == "revert_failed"
    assert f"refuted; going back to {A} failed: systemctl was not done after" in done.reason
    assert (releases.linked(layout.CURRENT), releases.linked(layout.PREVIOUS)) == (A, None)


def test_a_stop_has_the_time_that_the_slower_release_may_take(host: ActivatedHost) -> None:
    host.stage("c" * 12, drain_timeout_s=3600)
    assert transaction.stop_bound_s(begun(B, "c" * 12)) == 7500
    assert transaction.stop_bound_s(begun("c" * 12, None)) == 7500
    assert transaction.stop_bound_s(begun(B, A)) == 300
    assert transaction.stop_bound_s(begun(B, "d" * 12)) == 7500  # not staged


@pytest.mark.parametrize("phase", ["reverting", "restarting"])
def test_power_lost_on_the_way_back_from_a_first_release_ends_with_nothing_serving(
    host: ActivatedHost, phase: Phase
) -> None:
    releases.point(current=A, previous=None)
    left = replace(begun(A, None, boot_id="before"), phase=phase, reason="it crashed")
    journal.keep(left)
    recovery.recover()
    found = journal.load()
    assert found is not None and found.phase == "reverting"
    done = Transaction(found).run(phases.course(found, same_boot=True))
    assert (done.outcome, done.serving) == ("reverted", None)
    assert done.reason == (
        f"it crashed; the host went down in phase {phase}; it was the first release: nothing serves"
    )
    assert releases.linked(layout.CURRENT) is None
    assert host.asked()[-1] == "disable --quiet vllm.service"
