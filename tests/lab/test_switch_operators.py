"""Two operators, Ctrl-C, and a host that is lost while it switches."""

from __future__ import annotations

import signal
import time

import pytest

from tests.lab.fault_matrix import S1, S2, S3, S4, all_of, everywhere, expect
from tests.lab.faulty import Fleet

HOSTS = 4
pytestmark = pytest.mark.slow


def test_two_operators(fleet: Fleet) -> None:
    """The second is told who is at work; with break_lock it takes over, and the first is told."""
    fleet.catch(S1, "starting")
    began, first = time.monotonic(), fleet.start()
    fleet.caught([S1], first)
    second = fleet.run(vllm_mode=fleet.mode)  # the same release would be joined
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
