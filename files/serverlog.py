"""Follows a container's log: to the journal, and for what it tells about progress and death."""

from __future__ import annotations

import collections
import threading
import time

import container
import container_log
import nccl
import progress
import startlog
from container import Container
from errors import HostError

KEPT_LINES = 40
AGAIN_S = 1.0  # a log that cannot be read ends at once, each time
OWN_QUESTION = '"GET /metrics HTTP/'  # the watchdog's own, every few seconds


class ServerLog:
    """The log of one container, read in the background until the container ends."""

    def __init__(self, item: Container) -> None:
        self.stage = "starting the container"
        self.last_line_at = time.monotonic()
        self.drained_at: float | None = None  # told to stop, its engine did the last request
        self.ended = threading.Event()
        self.networks: set[str] = set()  # over what NCCL says it talks
        self.final: Container | None = None  # how the container ended; None: Docker lost it
        self._item = item
        self._fault = ""  # why its log could not be read
        self.said: list[str] = []  # what the server says of itself while it starts
        self._lines: collections.deque[str] = collections.deque(maxlen=KEPT_LINES)
        threading.Thread(target=self._follow, daemon=True).start()

    def lines(self) -> list[str]:
        """The last lines of the log."""
        return list(self._lines)

    def silent_s(self) -> float:
        """Seconds since the last line."""
        return time.monotonic() - self.last_line_at

    def _follow(self) -> None:
        since = "0"
        while True:
            self._read(since)
            since = f"{time.time():.6f}"
            item = self._look()
            if item is None or not item.running:
                self.final = item
                self.ended.set()
                return
            time.sleep(AGAIN_S)

    def _read(self, since: str) -> None:
        try:
            for text in container_log.follow(self._item.id, since):
                for line in text.split("\r"):
                    self._take(line)
        except HostError as error:
            if str(error) != self._fault:
                print(f"serve: {error}", flush=True)
            self._fault = str(error)

    def _take(self, line: str) -> None:
        if not line.strip() or OWN_QUESTION in line:
            return
        text = line.rstrip()
        print(text, flush=True)
        self._lines.append(text)
        self.last_line_at = time.monotonic()
        self.stage = progress.stage(text) or self.stage
        if progress.drained(text):
            self.drained_at = self.last_line_at
        if network := nccl.network(text):
            self.networks.add(network)
        if startlog.tells(text) and len(self.said) < startlog.MOST_LINES:
            self.said.append(text[: startlog.LONGEST])

    def _look(self) -> Container | None:
        """The container now. Under live-restore the server outlives its daemon: wait for that."""
        while True:
            try:
                return container.inspect(self._item.id)
            except HostError as error:
                if not container.alive(self._item):
                    print(f"serve: {error}", flush=True)
                    return None
                time.sleep(2.0)
