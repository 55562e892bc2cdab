"""Hosts of one run that have to know of each other in the middle of an operation."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from typing import Generic, TypeVar

from gevent.event import Event

Told = TypeVar("Told")


class Gathering(Generic[Told]):
    """Every member tells something; each waits until all have, or are given up by pyinfra.

    Needs a pool slot for every host, which ``deploys/engine.py`` checks.
    """

    def __init__(self, members: list[str], lost: Callable[[], set[str]]) -> None:
        self.members, self._lost = members, lost
        self.secret = secrets.token_hex(32)
        self._told: dict[str, Told] = {}
        self._moved = Event()

    def tell(self, host: str, what: Told) -> dict[str, Told]:
        """What all told, in inventory order, once nobody is waited for."""
        self._told[host] = what
        self._moved.set()
        self._moved = Event()
        while any(m not in self._told and m not in self._lost() for m in self.members):
            self._moved.wait(timeout=1.0)  # also looks for hosts that pyinfra gave up
        return {name: self._told[name] for name in self.members if name in self._told}
