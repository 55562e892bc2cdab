"""The lock of a host: one change at a time. A directory, because mkdir is atomic."""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import durable
import layout
import systemd
from errors import HostError

OWNER = layout.LOCK / "owner.json"


class Held(HostError):
    """Someone else changes this host."""

    code = 75  # sysexits EX_TEMPFAIL


@dataclass(frozen=True)
class Owner:
    """Who holds the lock, from where, since when (epoch seconds), for what."""

    who: str
    origin: str
    what: str
    since: float
    pid: int
    pid_started: int
    boot_id: str

    def words(self) -> str:
        """As a person reads it."""
        age = max(time.time() - self.since, 0)
        return f"{self.who} from {self.origin}, for {age:.0f} s: {self.what}"


def boot_id() -> str:
    """Differs after every boot."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def pid_started(pid: int) -> int:
    """When a process started, in clock ticks since boot; 0 if there is no such process."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return 0
    return int(stat.rpartition(")")[2].split()[19])


def owner(who: str, origin: str, what: str) -> Owner:
    """This process as an owner."""
    pid = os.getpid()
    return Owner(who, origin, what, time.time(), pid, pid_started(pid), boot_id())


def holder() -> Owner | None:
    """Who holds the lock; None if nobody does or the holder left no note."""
    record = durable.read_json(OWNER)
    try:
        return Owner(**record) if record else None  # type: ignore[arg-type]
    except TypeError:
        return None


def stale(held: Owner | None, *, activation_alive: bool) -> str | None:
    """Why the lock counts as left behind; None if its holder lives."""
    if held is None:
        return "its holder left no note"
    if held.boot_id != boot_id():
        return "the host was booted since"
    if activation_alive or pid_started(held.pid) == held.pid_started != 0:
        return None
    return f"its process {held.pid} is gone"


def take(new: Owner, *, break_it: bool = False) -> str:
    """Take the lock; returns what was found of a stale or broken one ("" if it was free).

    Raises Held if a living holder has it and it is not to be broken.
    """
    with _alone():
        if not layout.LOCK.exists():
            _make(new)
            return ""
        held = holder()
        words = held.words() if held else "nobody known"
        why = stale(held, activation_alive=systemd.show(layout.ACTIVATE_UNIT).alive)
        if why is None and not break_it:
            raise Held(
                f"{layout.LOCK} is held by {words}; wait for it, or stop it and take over "
                "with --data break_lock=true"
            )
        if why is None:
            systemd.stop(layout.ACTIVATE_UNIT)
        _remove()
        _make(new)
    return f"took over the lock of {words} ({why or 'broken on request'})"


def free() -> None:
    """Give the lock back; one that is not there is no error."""
    with _alone():
        _remove()


@contextlib.contextmanager
def _alone() -> Iterator[None]:
    """Between judging a lock stale and replacing it nobody else may do the same."""
    layout.LOCK.parent.mkdir(parents=True, exist_ok=True)
    with open(f"{layout.LOCK}.guard", "w", encoding="utf-8") as guard:
        fcntl.flock(guard, fcntl.LOCK_EX)
        yield


def _make(new: Owner) -> None:
    layout.LOCK.mkdir()
    durable.write_json(OWNER, asdict(new), flush=False)


def _remove() -> None:
    for path in layout.LOCK.glob("*"):
        path.unlink()
    if layout.LOCK.exists():
        layout.LOCK.rmdir()
