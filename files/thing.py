"""Something of ours on this host that can go."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Thing:
    """What a person reads, and how it goes."""

    text: str
    remove: Callable[[], object]
