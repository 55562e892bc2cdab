"""The stand-in as one of several ranks: they meet at the head, and hang when one is lost.

What real ranks do over NCCL or Gloo is here one idle TCP connection from each worker to the head.
"""

from __future__ import annotations

import os
import select
import socket
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any

POLL_S = 0.1


class Ranks:
    """This server's place among ``--nnodes``; one that serves alone is never lost."""

    def __init__(self, found: Mapping[str, Any]) -> None:
        self.count = int(found.get("nnodes") or 1)
        self.number = int(found.get("node-rank") or 0)
        self.place = (str(found.get("master-addr")), int(found.get("master-port") or 29501))
        self.headless = bool(found.get("headless"))
        self._links: list[socket.socket] = []

    def meet(self, pause: Callable[[float], None]) -> None:
        """Return when all ranks are connected; ``pause`` may end the process."""
        if self.count == 1:
            return
        if self.number:
            self._join(pause)
        else:
            self._gather(pause)
        network = "IB" if os.environ.get("NCCL_IB_HCA") else "Socket"
        if os.environ.get("NCCL_DEBUG") == "INFO":
            print(f"lab:1:1 [0] NCCL INFO Using network {network}", file=sys.stderr, flush=True)

    def _gather(self, pause: Callable[[float], None]) -> None:
        with socket.create_server(self.place) as server:
            server.settimeout(POLL_S)
            while len(self._links) < self.count - 1:
                try:
                    self._links.append(server.accept()[0])
                except TimeoutError:
                    pause(0)

    def _join(self, pause: Callable[[float], None]) -> None:
        while not self._links:
            try:
                self._links.append(socket.create_connection(self.place, timeout=2))
            except OSError:
                pause(POLL_S)

    def lost(self) -> bool:
        """Whether another rank is gone: from now on every step would hang."""
        ready = select.select(self._links, [], [], 0)[0]
        return any(not link.recv(1) for link in ready)

    def follow(self, asked: Callable[[], bool], broken: Callable[[], int | None]) -> int:
        """A worker's life: no API; it hangs on when the head is gone, as vLLM's does."""
        while not asked():
            time.sleep(POLL_S)
            if (status := broken()) is not None:
                return status
        return 0
