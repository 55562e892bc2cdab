"""Turns of many hosts over one change; each host is a greenlet, as in a run."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

import gevent
import pytest

from deploys.rollout import OUTSIDE, Rollout

HOSTS = [f"h{n}" for n in range(1, 6)]


@dataclass
class Fleet:
    """Runs every host's part of a rollout and keeps the order of what happened."""

    bad: Collection[str] = ()
    outside: Collection[str] = ()  # hosts that serve and that a gateway gets no answer from
    unchanged: Collection[str] = ()
    vanish: Collection[str] = ()  # hosts that pyinfra gives up while they switch
    on_failure: str = "revert"
    units: Mapping[str, Collection[str]] = field(default_factory=dict)
    log: list[str] = field(default_factory=list)
    gone: set[str] = field(default_factory=set)

    def run(self, canary: Collection[str] = (), wave_size: int | str = 2) -> Rollout:
        rollout = Rollout(
            HOSTS, canary, wave_size, self.on_failure, lambda: self.gone, units=self.units
        )
        jobs = [gevent.spawn(self._host, rollout, name) for name in reversed(HOSTS)]
        gevent.joinall(jobs, timeout=30, raise_error=True)
        assert all(job.ready() for job in jobs), "a host waits for ever"
        return rollout

    def _host(self, rollout: Rollout, name: str) -> None:
        changes = name not in self.unchanged
        rollout.declare(name, changes)
        if not changes:
            return
        if rollout.turn(name) is None:
            self.log.append(f"{name} untouched")
            return
        self.log.append(f"{name} begins")
        gevent.sleep(0.01)
        if name in self.vanish:
            self.gone.add(name)
            return
        good = OUTSIDE if name in self.outside else "switched"
        rollout.report(name, "reverted" if name in self.bad else good)
        if rollout.must_revert(name):
            self.log.append(f"{name} goes back")


def test_waves_follow_each_other_in_inventory_order() -> None:
    fleet = Fleet()
    rollout = fleet.run()
    assert rollout.waves == [["h1"], ["h2", "h3"], ["h4", "h5"]]
    begun = [line.split()[0] for line in fleet.log]
    assert begun[0] == "h1" and set(begun[1:3]) == {"h2", "h3"} and set(begun[3:]) == {"h4", "h5"}


def test_a_failed_canary_leaves_all_others_untouched() -> None:
    fleet = Fleet(bad={"h1"})
    assert fleet.run().broken_by == "h1"
    assert sorted(fleet.log) == sorted(["h1 begins", *(f"{h} untouched" for h in HOSTS[1:])])


def test_a_failed_second_wave_sends_every_switched_host_back() -> None:
    fleet = Fleet(bad={"h3"})
    fleet.run()
    assert {line for line in fleet.log if "goes back" in line} == {"h1 goes back", "h2 goes back"}
    assert {"h4 untouched", "h5 untouched"} <= set(fleet.log)


def test_with_stop_the_hosts_that_switched_stay() -> None:
    fleet = Fleet(bad={"h3"}, on_failure="stop")
    fleet.run()
    assert not any("goes back" in line for line in fleet.log)


def test_hosts_that_need_no_change_take_no_turn() -> None:
    fleet = Fleet(unchanged={"h1", "h2"})
    assert fleet.run().waves == [["h3"], ["h4", "h5"]]


@pytest.mark.parametrize("vanish", ["h1", "h3"])
def test_a_host_lost_while_it_switches_opens_the_breaker(vanish: str) -> None:
    fleet = Fleet(vanish={vanish})
    assert fleet.run().broken_by == vanish
    assert "h5 untouched" in fleet.log


@pytest.mark.parametrize("broken", ["h1", "h4"])
def test_a_host_that_breaks_off_before_it_declares_itself_keeps_nobody_waiting(broken: str) -> None:
    """pyinfra calls such a host failed only after the operation, which all others are still in."""

    @dataclass
    class Breaks(Fleet):
        def _host(self, rollout: Rollout, name: str) -> None:
            if name == broken:
                gevent.sleep(0.02)  # the others have declared themselves and wait
                rollout.absent(name)
                return
            Fleet._host(self, rollout, name)

    fleet = Breaks()
    rollout = fleet.run()
    assert rollout.broken_by == broken and not any("begins" in line for line in fleet.log)
    assert {line for line in fleet.log} == {f"{h} untouched" for h in HOSTS if h != broken}


def test_a_host_that_breaks_off_in_its_turn_counts_as_failed() -> None:
    @dataclass
    class Breaks(Fleet):
        def _host(self, rollout: Rollout, name: str) -> None:
            if name != "h2":
                Fleet._host(self, rollout, name)
                return
            rollout.declare(name, True)
            rollout.turn(name)
            rollout.absent(name)

    fleet = Breaks()
    assert fleet.run().broken_by == "h2"
    assert "h1 goes back" in fleet.log and "h5 untouched" in fleet.log


PAIRS = {h: ("h2", "h3") for h in ("h2", "h3")} | {h: ("h4", "h5") for h in ("h4", "h5")}


def test_a_replica_changes_as_one_and_counts_as_one() -> None:
    fleet = Fleet(units=PAIRS)
    assert fleet.run(wave_size=1).waves == [["h1"], ["h2", "h3"], ["h4", "h5"]]
    assert Fleet(units=PAIRS).run(canary=["h5"], wave_size=2).waves == [
        ["h4", "h5"],
        ["h1", "h2", "h3"],
    ]


def test_a_failed_rank_takes_its_replica_back_whatever_on_failure_says() -> None:
    fleet = Fleet(bad={"h3"}, units=PAIRS, on_failure="stop")
    fleet.run(wave_size=1)
    assert [line for line in fleet.log if "goes back" in line] == ["h2 goes back"]


def test_ranks_meet_before_they_go_on() -> None:
    rollout = Rollout(["h2", "h3"], (), 1, "revert", set, units=PAIRS)
    order: list[str] = []

    def part(name: str, pause: float) -> None:
        rollout.declare(name, True)
        rollout.turn(name)
        gevent.sleep(pause)
        order.append(f"{name} moved")
        rollout.meet(name)
        order.append(f"{name} starts")

    jobs = [gevent.spawn(part, "h2", 0.0), gevent.spawn(part, "h3", 0.05)]
    gevent.joinall(jobs, timeout=10, raise_error=True)
    assert sorted(order[:2]) == ["h2 moved", "h3 moved"] and len(order) == 4


def test_a_host_that_gives_up_before_its_turn_keeps_nobody_waiting() -> None:
    """As a rotation does on a host where no proxy runs."""

    @dataclass
    class GivesUp(Fleet):
        def _host(self, rollout: Rollout, name: str) -> None:
            if name not in self.bad:
                Fleet._host(self, rollout, name)
                return
            rollout.declare(name, True)
            rollout.report(name, "refused")

    rollout = GivesUp(bad=["h3"]).run()
    assert rollout.broken_by == "h3"


@pytest.mark.parametrize(("on_failure", "back"), [("revert", {"h1", "h2"}), ("stop", {"h2"})])
def test_a_host_that_the_gateway_does_not_reach_goes_back(on_failure: str, back: set[str]) -> None:
    fleet = Fleet(outside={"h2"}, on_failure=on_failure)
    fleet.run(wave_size=1)
    assert {line.split()[0] for line in fleet.log if "goes back" in line} == back
    assert "h3 untouched" in fleet.log
