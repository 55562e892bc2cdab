"""Canary, waves and breaker inside one operation of one pyinfra run.

All hosts of the run share the ``Rollout``; each takes its turn when every host of the earlier waves
is through. It needs a pool slot for every host, which ``deploys/engine.py`` checks.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from dataclasses import dataclass, field

from gevent.event import Event

from fleet.waves import plan

GOOD = ("switched", "unchanged")


@dataclass
class Rollout:
    """Progress of one change over the fleet.

    ``members``: every host that runs the operation, in inventory order. ``canary``: the names that
    go first. ``lost`` tells, asked at any time, which members pyinfra has given up.
    """

    members: list[str]
    canary: Collection[str]
    wave_size: int | str
    on_failure: str
    lost: Callable[[], set[str]]
    began: float = field(default_factory=time.monotonic)
    broken_by: str = ""
    _declared: dict[str, bool] = field(default_factory=dict)
    _begun: set[str] = field(default_factory=set)
    _outcome: dict[str, str] = field(default_factory=dict)
    _waves: list[list[str]] | None = None
    _moved: Event = field(default_factory=Event)

    def declare(self, host: str, changes: bool) -> None:
        """``host`` needs the change or not; the waves are planned once every member has said so."""
        self._declared[host] = changes
        self._wake()

    def turn(self, host: str) -> int | None:
        """Wait for ``host``'s wave; its number from 0, or None when the breaker opened before."""
        self._wait(self._planned)
        wave = self._wave_of(host)
        earlier = [name for names in self.waves[:wave] for name in names]
        self._wait(lambda: bool(self.broken_by) or all(name in self._ended() for name in earlier))
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

    def must_revert(self, host: str) -> bool:
        """Wait until no host is switching any more; True if ``host``, switched, has to go back."""
        self._wait(self._over)
        switched = self._outcome.get(host) == "switched"
        return switched and bool(self.broken_by) and self.on_failure == "revert"

    @property
    def waves(self) -> list[list[str]]:
        return self._waves or []

    def _planned(self) -> bool:
        gone = self.lost()
        if self._waves is None and all(m in self._declared or m in gone for m in self.members):
            changing = [m for m in self.members if self._declared.get(m)]
            self._waves = plan(changing, self.canary, self.wave_size)
        return self._waves is not None

    def _wave_of(self, host: str) -> int:
        return next(i for i, names in enumerate(self.waves) if host in names)

    def _all(self) -> list[str]:
        return [name for names in self.waves for name in names]

    def _ended(self) -> set[str]:
        gone = {name for name in self.lost() if name not in self._outcome}
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
