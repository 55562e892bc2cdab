"""How long a start may take, and which answers end it at once."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import completion
import container
import progress

if TYPE_CHECKING:
    from server import Server


class Patience:
    """How long a starting server may take, and which of its answers end the wait."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._http_errors = 0
        self._cpu = container.cpu_seconds(server.item.pid)
        self._cpu_at = time.monotonic()
        self._cores = 0.0

    def elapsed(self) -> float:
        """Seconds since the container was started."""
        return time.monotonic() - self._server.begun

    def probe_timeout_s(self) -> float:
        """The first completion may compile kernels: give it minutes, not all of the time."""
        return min(max(self._server.release.ready_timeout_s / 4, 5.0), 300.0)

    def failed(self, result: completion.Result) -> None:
        """Raise if this answer will not become a better one."""
        if result.fault in ("wrong_name", "unauthorized"):
            raise self._server.failure(f"answers, but {result.detail}")
        if result.fault in ("http", "empty"):
            self._http_errors += 1
            if self._http_errors >= 5:
                raise self._server.failure(
                    f"answers, but {result.detail} ({self._http_errors} times)"
                )

    def check(self) -> None:
        """Raise when the time is up."""
        self._measure()
        reason = progress.out_of_patience(
            self.elapsed(),
            self._server.release.ready_timeout_s,
            self._server.log.silent_s(),
            self._cores,
        )
        if reason:
            raise self._server.failure(f"{reason}; last stage: {self._server.log.stage}")

    def _measure(self) -> None:
        now = time.monotonic()
        if now - self._cpu_at < 10:
            return
        used = container.cpu_seconds(self._server.item.pid)
        if used is not None and self._cpu is not None:
            self._cores = (used - self._cpu) / (now - self._cpu_at)
        self._cpu, self._cpu_at = used, now
