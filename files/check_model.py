"""Does this host have a locked model, whole? ``check_model.py REQUEST.json [--deep]``.

Every file is compared with the lock by sha256; a bad one is set aside. Exit status 0: whole. Else
the last line says what is missing. ``--deep`` reads what was found good before as well.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from pathlib import Path

import model_request
import weights
from errors import HostError, exit_code
from model_lock import alone
from model_request import Request

TELL_S = 5.0
SHOWN = 5
NICE = 10  # what serves comes first


def check(request: Request, *, deep: bool = False) -> weights.Answer:
    """Compare with the lock and set aside what is not as locked; progress and findings on stdout.

    Raises HostError where the cache cannot be read or written.
    """
    progress = _Progress(request)
    try:
        answer = weights.check(request.folder, request.files, deep=deep, tell=progress.read)
        weights.set_aside(request.folder, answer.corrupt)
    except OSError as error:
        raise HostError(f"{error.filename or request.folder}: {error.strerror}") from None
    if answer.corrupt:
        print(f"{request.repo}: set aside, not as locked: {shown(answer.corrupt)}", flush=True)
    return answer


def shown(paths: tuple[str, ...]) -> str:
    """The first few of them."""
    more = f" and {len(paths) - SHOWN} more" if len(paths) > SHOWN else ""
    return ", ".join(paths[:SHOWN]) + more


class _Progress:
    """A line every few seconds, from whichever thread comes by."""

    def __init__(self, request: Request) -> None:
        self._request = request
        self._lock = threading.Lock()
        self._bytes = 0
        self._began = self._told = time.monotonic()

    def read(self, size: int) -> None:
        with self._lock:
            self._bytes += size
            now = time.monotonic()
            if now - self._told < TELL_S:
                return
            self._told = now
            rate = self._bytes / (now - self._began)
        print(
            f"{self._request.repo}: checked {self._bytes >> 20} of {self._request.size >> 20} MiB, "
            f"{rate / 1e6:.0f} MB/s",
            flush=True,
        )


def main() -> int:
    request = model_request.read(Path(sys.argv[1]))
    os.nice(NICE)
    with alone(request):
        answer = check(request, deep="--deep" in sys.argv[2:])
    if not answer.whole:
        raise HostError(
            f"{request.repo}: {len(answer.wanted)} of {len(request.files)} files are missing or "
            f"not as locked: {shown(answer.wanted)}"
        )
    print(f"{request.repo}: {len(request.files)} files are whole", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(exit_code("check_model", main))
