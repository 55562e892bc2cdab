"""Why a server failed, as far as this host knows: for the reason in an activation's report."""

from __future__ import annotations

import time

import durable
import layout
import systemd
from errors import HostError

CAUSE_S = 5.0


def cause(digest: str, since: float, told: str) -> HostError:
    """Why a server failed, as serve.py writes it down within seconds; else ``told``."""
    deadline = time.monotonic() + CAUSE_S
    while (error := recorded(digest, since)) is None and time.monotonic() < deadline:
        time.sleep(0.2)
    return error or HostError(told)


def of_start(digest: str, since: float) -> HostError:
    """Why a start failed: what serve.py wrote down after ``since``; else what systemd knows."""
    unit = systemd.show()
    return recorded(digest, since) or HostError(
        f"{layout.UNIT} did not start: {unit.result or unit.active} {unit.text}".rstrip()
        + f"; see journalctl -u {layout.UNIT}"
    )


def recorded(digest: str, since: float) -> HostError | None:
    """The failure of a server of this release after ``since``, with its last log lines."""
    record = durable.read_json(layout.FAILURE) or {}
    at, log = record.get("at"), record.get("log")
    if record.get("release") != digest or not isinstance(at, float) or at < since:
        return None
    lines = [str(line) for line in log] if isinstance(log, list) else []
    return HostError(str(record.get("reason")), lines)
