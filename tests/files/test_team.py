"""Ranks that watch each other, over loopback: they start together and fall together."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import layout
import pytest
import team
from cluster import Rank, Replica
from release import Release
from team import Team

OURS, OTHER = "a" * 12, "b" * 12
PORTS = itertools.count(29640, 10)


@pytest.fixture(autouse=True)
def nothing_under_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """This machine's own records are not read, and nobody waits a second between questions."""
    monkeypatch.setattr(layout, "ACTIVATION", tmp_path / "activation.json")
    monkeypatch.setattr(layout, "ACTIVATION_LIVE", tmp_path / "live.json")
    monkeypatch.setattr(team, "ASK_S", 0.05)


def release(digest: str) -> Release:
    return Release(*(digest, "m", "o/n", "0" * 40, "i", "n", "127.0.0.1", 8000), *(60, 10, 30, 0))


class Ranks:
    """Ranks of one replica, each on a loopback address of its own."""

    def __init__(self, count: int = 2) -> None:
        ranks = tuple(Rank(n, f"spark-0{n + 1}", f"127.0.9.{n + 1}", ()) for n in range(count))
        self.replica = Replica("pair", "mp", next(PORTS), True, ranks)

    def one(self, number: int, digest: str = OURS) -> Team:
        return Team(release(digest), self.replica, self.replica.ranks[number])

    def gather(self, *teams: Team, bound_s: float = 10) -> list[list[str]]:
        """What each told while it waited; all have gathered when this returns."""
        told: list[list[str]] = [[] for _ in teams]
        threads = [
            threading.Thread(target=each.gather, args=(threading.Event(), lines.append))
            for each, lines in zip(teams, told, strict=True)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(bound_s)
            assert not thread.is_alive(), told
        return told


def until(reached: Callable[[], Any], bound_s: float = 5) -> Any:
    end = time.monotonic() + bound_s
    while not (found := reached()):
        assert time.monotonic() < end
        time.sleep(0.02)
    return found


def test_workers_are_up_before_the_head_and_all_pin_each_others_lives() -> None:
    ranks = Ranks(3)
    teams = [ranks.one(number) for number in range(3)]
    told = ranks.gather(*teams)
    assert any("to start first" in line for line in told[0])
    assert teams[1].pins == {"0": teams[0].life, "2": teams[2].life}
    assert [each.fault() for each in teams] == ["", "", ""]


def test_a_rank_that_fails_says_why_to_the_others() -> None:
    ranks = Ranks()
    head, worker = ranks.one(0), ranks.one(1)
    ranks.gather(head, worker)
    worker.fail("the server exited with 9")
    assert head.fault() == "spark-02 (rank 1): the server exited with 9"


def test_another_release_is_waited_for_and_a_new_life_is_a_fault() -> None:
    ranks = Ranks()
    head, worker = ranks.one(0), ranks.one(1)
    until(lambda: head.peers[0].answer)
    assert head._missing(head.peers[0]) == "spark-02 to start first"
    worker.release = replace(worker.release, digest=OTHER)
    until(lambda: "which has release bbbb" in head._missing(head.peers[0]))
    worker.release = replace(worker.release, digest=OURS)
    ranks.gather(head, worker)
    worker.life = "another"
    assert until(head.fault) == "spark-02 (rank 1) began anew"
    assert "begin anew" in until(lambda: worker._missing(worker.peers[0]))


def test_a_silent_rank_is_gone() -> None:
    ranks = Ranks()
    head = ranks.one(0)
    assert "no sign of life" in until(lambda: head._missing(head.peers[0]))
    until(lambda: head.peers[0].gone)


@pytest.mark.parametrize(
    ("ours", "said", "limit"),
    [
        ("forward", {}, team.SILENT_S),
        ("forward", {"release": OURS, "course": "back"}, None),
        ("forward", {"release": OTHER, "course": "forward"}, None),
        ("forward", {"release": OTHER, "course": "back"}, team.BACK_S),
        ("forward", {"release": OTHER, "course": ""}, team.APART_S),
        ("back", {"release": OTHER, "course": ""}, None),
        ("", {}, None),
    ],
)
def test_only_a_switch_gives_up_on_hosts_that_do_not_come(
    ours: str, said: dict[str, str], limit: float | None
) -> None:
    assert team.patience(ours, OURS, said) == limit
