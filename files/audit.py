"""The append-only record of what was done to this host: one JSON line an action."""

from __future__ import annotations

import json
import os
import socket
import time

import layout
from phases import Activation


def append(action: str, **facts: object) -> None:
    """Add a line and put it on disk. Facts hold who, origin, from, to, outcome, reason ..."""
    layout.AUDIT.parent.mkdir(parents=True, exist_ok=True)
    line = json.dumps(
        {
            "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "host": socket.gethostname(),
            "action": action,
            **facts,
        },
        sort_keys=True,
    )
    handle = os.open(layout.AUDIT, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o640)
    try:
        os.write(handle, line.encode() + b"\n")
        os.fsync(handle)
    finally:
        os.close(handle)


def append_once(action: str, done: Activation) -> None:
    """Add a finished activation, unless its line is there already (killed after writing it)."""
    if any(line.get("id") == done.id for line in last(50)):
        return
    append(
        action,
        id=done.id,
        who=done.who,
        origin=done.origin,
        why=done.why,
        wanted=done.release,
        before=done.before,
        after=done.serving,
        outcome=done.outcome,
        reason=done.reason,
        seconds=round((done.finished or done.updated) - done.started, 1),
        downtime_s=done.downtime_s(done.finished or done.updated),
        notes=done.notes,
    )


def last(count: int = 1) -> list[dict[str, object]]:
    """The last ``count`` lines; a line cut short by a power loss is left out."""
    try:
        lines = layout.AUDIT.read_text(encoding="utf-8", errors="replace").splitlines()
    except FileNotFoundError:
        return []
    found = []
    for line in lines[-count:]:
        try:
            found.append(json.loads(line))
        except ValueError:
            continue
    return found
