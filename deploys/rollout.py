"""Canary, waves and breaker inside one operation of one pyinfra run.

All hosts of the run share the ``Rollout``; each takes its turn when every host of the earlier waves
is through. It needs a pool slot for every host, which ``deploys/engine.py`` checks.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field

from gevent.event import Event

from fleet.waves import plan

GOOD = ("switched", "unchanged")
OUTSIDE = "not in service"  # it serves what was wanted, but a gateway gets no answer from it
UNSEEN = "not confirmed"  # the same, where a gateway could not be asked


@dataclass
class Rollout:
    """Progress of one change over the fleet.

    ``members``: every host that runs the operation, in inventory order. ``canary``: the names that
    go first. ``lost`` tells, asked at any time, which members pyinfra has given up. ``units`` says
    which hosts change as one, the replicas; others change alone. ``wave_size`` counts units.
    """

    members: list[str]
    canary: Collection[str]
    wave_size: int | str
    on_failure: str
    lost: Callable[[], set[str]]
    units: Mapping[str, Collection[str]] = field(default_factory=dict)
    began: float = field(default_factory=time.monotonic)
    broken_by: str = ""
    _declared: dict[str, bool] = field(default_factory=dict)
    _begun: set[str] = field(default_factory=set)
    _outcome: dict[str, str] = field(default_factory=dict)
    _failing: set[str] = field(default_factory=set)
    _met: set[str] = field(default_factory=set)
    _absent: set[str] = field(default_factory=set)
    _waves: list[list[str]] | None = None
    _moved: Event = field(default_factory=Event)

    def declare(self, host: str, changes: bool) -> None:
        """``host`` needs the change or not; the waves are planned once every member has said so."""
        self._declared[host] = changes
        self._wake()

    def absent(self, host: str) -> None:
        """``host`` broke off: it takes no further part. pyinfra says so only after the operation,
        which lasts until no other host waits."""
        self._absent.add(host)
        self._wake()

    def turn(self, host: str) -> int | None:
        """Wait for ``host``'s wave; its number from 0, or None when the breaker opened before."""
        self._wait(self._planned)
        wave = self._wave_of(host)
        earlier = {name for names in self.waves[:wave] for name in names}
        self._wait(lambda: earlier <= self._ended() or bool(self.broken_by))
        if self.broken_by:
            return None
        self._begun.add(host)
        return wave

    def report(self, host: str, outcome: str) -> None:
        """How ``host``'s turn ended; anything but ``GOOD`` opens the breaker."""
        self._outcome[host] = outcome
        if outcome not in GOOD and not self.broken_by:
            self.broken_by = host
        self._wake()

    def fails(self, host: str) -> None:
        """``host`` is going back by itself; where it is of a replica, it waits for the others."""
        self._failing.add(host)
        self._wake()

    def must_revert(self, host: str) -> bool:
        """Wait until no host is switching any more; True if ``host``, switched, has to go back."""
        self._wait(lambda: self._over() or self.torn(host))
        if self._outcome.get(host) not in ("switched", OUTSIDE):
            return False
        return (
            self._outcome[host] == OUTSIDE
            or self.torn(host)
            or (bool(self.broken_by) and self.on_failure == "revert")
        )

    def torn(self, host: str) -> bool:
        """Another host of ``host``'s replica has failed: together they cannot stay."""
        mates = self._mates(host)
        ended = self._ended()
        bad = {m for m in mates if m in ended and self._outcome.get(m, "lost") not in GOOD}
        return bool(bad | (self._failing & mates))

    def meet(self, host: str) -> None:
        """Wait until every host of the replica that has begun is here too, or has ended."""
        self._met.add(host)
        self._wake()
        self._wait(lambda: self._expected(host) <= self._met | self._ended())

    def _expected(self, host: str) -> set[str]:
        """Of the other hosts of its replica, those that have begun or will."""
        mates = self._mates(host)
        return mates & self._begun if self.broken_by else mates

    def _mates(self, host: str) -> set[str]:
        """The other hosts of its replica that change in this run."""
        return (set(self.units.get(host, ())) & set(self._all())) - {host}

    @property
    def waves(self) -> list[list[str]]:
        return self._waves or []

    def _gone(self) -> set[str]:
        return self.lost() | self._absent

    def _planned(self) -> bool:
        gone = self._gone()
        if self._waves is None and all(m in self._declared or m in gone for m in self.members):
            changing = [m for m in self.members if self._declared.get(m)]
            self._waves = self._in_units(changing)
        return self._waves is not None

    def _in_units(self, changing: list[str]) -> list[list[str]]:
        """The waves; each unit goes by the name of its first changing host."""
        first: dict[frozenset[str], str] = {}
        members: dict[str, list[str]] = {}
        for host in changing:
            name = first.setdefault(frozenset(self.units.get(host) or (host,)), host)
            members.setdefault(name, []).append(host)
        canary = [name for name, hosts in members.items() if set(hosts) & set(self.canary)]
        waves = plan(list(members), canary, self.wave_size)
        return [[host for name in wave for host in members[name]] for wave in waves]

    def _wave_of(self, host: str) -> int:
        return next(i for i, names in enumerate(self.waves) if host in names)

    def _all(self) -> list[str]:
        return [name for names in self.waves for name in names]

    def _ended(self) -> set[str]:
        gone = {name for name in self._gone() if name not in self._outcome}
        if gone and not self.broken_by:
            self.broken_by = min(gone)
        return {*self._outcome, *gone}

    def _over(self) -> bool:
        """Every host that began has ended, and no other will begin."""
        ended = self._ended()
        begun = all(name in ended for name in self._begun)
        return begun and (bool(self.broken_by) or all(name in ended for name in self._all()))

    def _wait(self, reached: Callable[[], bool]) -> None:
        while not reached():
            self._moved.wait(timeout=1.0)  # also looks for hosts that pyinfra gave up

    def _wake(self) -> None:
        self._moved.set()
        self._moved = Event()
