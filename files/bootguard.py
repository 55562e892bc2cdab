"""Stops restart loops: a release that failed to start too often is not tried again.

The count is on disk before each attempt, because a start that freezes the host (known on GB10)
never gets to write afterwards.
"""

from __future__ import annotations

import math
import time

import durable
import layout
from errors import Refused

LIMIT = 3
STEADY_S = 300.0  # serving that long, a release no longer counts as failing to start


def failures(digest: str) -> tuple[int, str]:
    """Attempts of this release that did not end in steady serving, and the last reason."""
    record = durable.read_json(layout.STARTS) or {}
    if record.get("release") != digest:
        return 0, ""
    count = record.get("failures")
    return (count if isinstance(count, int) else 0), str(record.get("reason", ""))


def begin(digest: str) -> None:
    """Count an attempt as failed until told otherwise; raises Refused after ``LIMIT``."""
    count, reason = failures(digest)
    if count >= LIMIT:
        last = f" (last: {reason})" if reason else ""
        raise Refused(
            f"release {digest} failed to start {count} times{last}; not tried again until another "
            f"release is activated or: {layout.PROGRAMS}/serve.py reset && systemctl start vllm"
        )
    _write(digest, count + 1, "the host went down while it started")


def note(digest: str, reason: str) -> None:
    """Say why the attempt failed."""
    _write(digest, failures(digest)[0], reason)


def withdraw(digest: str) -> None:
    """The attempt did not fail: it was told to stop."""
    count, reason = failures(digest)
    _write(digest, max(count - 1, 0), reason)


def reset() -> bool:
    """Forget all failures: a release is activated, serves steadily, or a person says try again.

    A disk that cannot be written is told, not raised; False then.
    """
    try:
        layout.STARTS.unlink(missing_ok=True)
    except OSError as error:
        print(f"boot guard: {layout.STARTS}: {error.strerror}; failed starts stay", flush=True)
        return False
    return True


class Steady:
    """Forgets the failures of a release, once, when it has served for ``STEADY_S``."""

    def __init__(self) -> None:
        self._at = time.monotonic() + STEADY_S

    def tick(self) -> None:
        """It still serves."""
        if time.monotonic() > self._at:
            self._at = math.inf
            reset()


def _write(digest: str, count: int, reason: str) -> None:
    record = {"release": digest, "failures": count, "reason": reason}
    try:
        durable.write_json(layout.STARTS, record)
    except OSError as error:  # a full disk must not keep the host from serving
        print(f"boot guard: {layout.STARTS}: {error.strerror}; starts are not counted", flush=True)
