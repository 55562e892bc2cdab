"""Hosts that wait for each other in the middle of an operation; each is a greenlet, as in a run."""

from __future__ import annotations

import gevent

from deploys.gathering import Gathering

HOSTS = ["h1", "h2", "h3"]


def gather(*telling: str, gone: frozenset[str] = frozenset()) -> list[dict[str, str]]:
    gathering: Gathering[str] = Gathering(HOSTS, lambda: set(gone))
    jobs = [gevent.spawn(gathering.tell, name, name.upper()) for name in telling]
    gevent.joinall(jobs, timeout=10, raise_error=True)
    return [job.value for job in jobs if job.ready()]


def test_everyone_learns_what_all_told_in_inventory_order() -> None:
    told = gather("h3", "h1", "h2")
    assert told == [{"h1": "H1", "h2": "H2", "h3": "H3"}] * 3
    assert list(told[0]) == HOSTS


def test_a_host_that_is_lost_is_not_waited_for() -> None:
    assert gather("h1", "h3", gone=frozenset({"h2"})) == [{"h1": "H1", "h3": "H3"}] * 2


def test_a_host_that_is_missing_is() -> None:
    gathering: Gathering[str] = Gathering(HOSTS, set)
    waiting = gevent.spawn(gathering.tell, "h1", "H1")
    gevent.sleep(0.05)
    assert not waiting.ready()
    waiting.kill()
