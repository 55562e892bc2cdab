"""The files that hosts of a fan-out pass on to each other, named by their sha256, and how much of
each is here already. Shared by the thread that receives and those that send."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO


@dataclass
class Item:
    """One file: ``path`` once all ``size`` bytes are there, ``part`` while it grows from the
    front; ``ready`` bytes can be passed on."""

    sha256: str
    size: int
    path: Path
    part: Path
    ready: int = 0

    @property
    def settled(self) -> bool:
        return self.ready == self.size and self.path.exists()

    @property
    def had(self) -> int:
        """Bytes of its part that lie there, from this run or one before."""
        found = self.part.stat().st_size if self.part.exists() else 0
        return found if found <= self.size else 0


class Shelf:
    """Items by sha256. ``want`` is called with each that somebody asks for."""

    def __init__(self, items: list[Item]) -> None:
        self.items = {item.sha256: item for item in items}
        self.want: Callable[[Item], None] = lambda item: None
        self._grown = threading.Condition()

    @property
    def size(self) -> int:
        return sum(item.size for item in self.items.values())

    @property
    def ready(self) -> int:
        return sum(item.ready for item in self.items.values())

    def grow(self, item: Item, ready: int) -> None:
        """``ready`` bytes of the item are in its file now; fewer when a part was thrown away."""
        with self._grown:
            item.ready = ready
            self._grown.notify_all()

    def wait(self, item: Item, beyond: int, seconds: float) -> int:
        """How much of the item is here, as soon as it is more than ``beyond``, or after a while."""
        end = time.monotonic() + seconds
        with self._grown:
            while item.ready <= beyond and (left := end - time.monotonic()) > 0:
                self._grown.wait(left)
            return item.ready

    def open(self, item: Item) -> BinaryIO:
        """To read; FileNotFoundError while there is nothing of it."""
        try:
            return item.part.open("rb")
        except FileNotFoundError:  # never begun, or renamed since
            return item.path.open("rb")
