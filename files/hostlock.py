"""The lock of a host: one change at a time. A directory, because mkdir is atomic."""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import durable
import layout
import systemd
from errors import HostError

OWNER = layout.LOCK / "owner.json"
END_S = 20.0  # a benchmark that has stopped the server starts it again first, for minutes


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
    """When a process started, in clock ticks since boot; 0 if there is none or it has ended."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return 0
    figures = stat.rpartition(")")[2].split()
    return 0 if figures[0] == "Z" else int(figures[19])


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
    if activation_alive or _lives(held):
        return None
    return f"its process {held.pid} is gone"


def take(new: Owner, *, break_it: bool = False) -> str:
    """Take the lock; returns what was found of a stale or broken one ("" if it was free).

    From then on SIGTERM ends this process by SystemExit, so that it gives back what it took.
    Raises Held if a living holder has it and it is not to be broken, or does not end.
    """
    ended = _end_holder() if break_it else None
    with _alone():
        note = _left_by(ended)
        _remove()
        _make(new)
    signal.signal(signal.SIGTERM, lambda *_: _give_back(new))
    return note


def _give_back(mine: Owner) -> None:
    """End by SystemExit, once: a second signal must not cut what the first one began."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    sys.exit(f"{mine.what}: told to stop")


def _left_by(ended: Owner | None) -> str:
    """Whose lock is replaced, and why that may be; "" if it is free. Raises Held if it may not.

    ``ended``: who held it and was told to end.
    """
    there = layout.LOCK.exists()
    held = holder() if there else ended
    if not there and held is None:
        return ""
    why = "broken on request" if held is not None and held == ended else _stale_now(held)
    if why is None:
        raise Held(
            f"{layout.LOCK} is held by {_words(held)}; wait for it, or stop it and take over "
            "with --data break_lock=true"
        )
    return f"took over the lock of {_words(held)} ({why})"


def require(mine: Owner) -> None:
    """Raise Held unless the lock is still ours."""
    if (held := holder()) != mine:
        raise Held(f"{layout.LOCK} was taken over by {_words(held)}; see status.py")


def free(mine: Owner | None) -> None:
    """Give the lock back; one that is not there, or is another's by now, stays as it is."""
    with _alone():
        if holder() == mine:
            _remove()


def _end_holder() -> Owner | None:
    """Who held the lock until now; None if nobody alive did. Raises Held if it does not end.

    Not under the guard: who ends takes that to give the lock back.
    """
    held = holder()
    if held is None or _stale_now(held):
        return None
    deadline = time.monotonic() + END_S
    with contextlib.suppress(ProcessLookupError):
        if _lives(held):
            os.kill(held.pid, signal.SIGTERM)
    while _lives(held):
        if time.monotonic() > deadline:
            raise Held(
                f"{layout.LOCK} is held by {held.words()}; it was told to stop and its process "
                f"{held.pid} has not ended after {END_S:.0f} s; try again later"
            )
        time.sleep(0.1)
    systemd.stop(layout.ACTIVATE_UNIT)
    return held


def _lives(held: Owner) -> bool:
    return pid_started(held.pid) == held.pid_started != 0


def _stale_now(held: Owner | None) -> str | None:
    return stale(held, activation_alive=systemd.show(layout.ACTIVATE_UNIT).alive)


def _words(held: Owner | None) -> str:
    return held.words() if held else "nobody known"


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
