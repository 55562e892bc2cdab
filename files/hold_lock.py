"""Hold the host's lock for as long as the SSH connection lives over which it was asked for.

Travels on stdin together with its siblings. The lock's process is the connection's sshd: where the
control side dies, so does it, and the lock counts as left behind.
"""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import hostlock
from errors import HostError, exit_code


def connection() -> int:
    """The process of the SSH connection that this one runs under."""
    pid = os.getppid()
    while pid > 1:
        name, state = Path(f"/proc/{pid}/stat").read_text().partition("(")[2].rsplit(")", 1)
        if name.startswith("sshd"):
            return pid
        pid = int(state.split()[1])
    raise HostError("the lock is held by an SSH connection; found none above this program")


def hold(request: dict[str, Any]) -> None:
    """Take the lock, unless this connection has it. Raises hostlock.Held."""
    pid = connection()
    if ours(pid) is None:
        asked = hostlock.owner(request["who"], request["origin"], request["what"])
        new = replace(asked, pid=pid, pid_started=hostlock.pid_started(pid))
        hostlock.take(new, break_it=same_run(new) or bool(request["break_lock"]))


def same_run(new: hostlock.Owner) -> bool:
    """An earlier connection of the run holds it, which may be gone without the host's knowing."""
    held = hostlock.holder()
    told = (new.who, new.origin, new.what)
    return held is not None and (held.who, held.origin, held.what) == told


def ours(pid: int) -> hostlock.Owner | None:
    """The lock's holder if that is this very connection."""
    held = hostlock.holder()
    this = (pid, hostlock.pid_started(pid), hostlock.boot_id())
    return held if held and (held.pid, held.pid_started, held.boot_id) == this else None


def main(request: dict[str, Any]) -> None:
    """Keys: hold (bool; else it is given back) and, to hold, who, origin, what, break_lock."""

    def work() -> int:
        if request["hold"]:
            hold(request)
        elif held := ours(connection()):
            hostlock.free(held)
        return 0

    sys.exit(exit_code("lock", work))
