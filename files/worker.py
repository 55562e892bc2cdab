"""A rank without an API: it is ready when its head is, and stops after it."""

from __future__ import annotations

import time

import bootguard
import completion
from notify import notify, status
from server import EXTEND_S, LAST_BYTES_S, POLL_S, STOP_MARGIN_S, Server
from team import Team


class Worker(Server):
    """One rank of a replica; only its head knows whether the whole makes progress."""

    team: Team

    def _first_completion(self) -> completion.Result:
        """The one that the head told of. The head also judges how long that may take."""
        end = time.monotonic() + 3 * self.release.ready_timeout_s
        while (said := self.team.head.answer)["state"] != "ready":
            if time.monotonic() > end:
                raise self.failure(f"{self.team.head.rank.host} is {said['state']} and never ready")
            status(f"{self.log.stage}; the head is {said['state']}", extend_s=EXTEND_S)
            self.pause()
        return completion.Result(**said["gate"])

    def watch(self) -> None:
        """Keep systemd informed while container, head and the other ranks live."""
        steady = bootguard.Steady()
        told = f"{self.release.digest} ({self.release.mode})"
        while True:
            notify(WATCHDOG=1, STATUS=f"serving {told}, as rank {self.team.rank.number}")
            steady.tick()
            self.pause(1.0)

    def quit(self, *, asked: bool = True) -> None:
        """Requests in flight need every rank: stop after the head has drained."""
        self.team.state = "leaving"
        end = time.monotonic() + self.release.drain_timeout_s + 2 * STOP_MARGIN_S
        while self.team.head_lives() and time.monotonic() < end and not self.log.ended.is_set():
            status("stopping after the head", extend_s=EXTEND_S)
            time.sleep(POLL_S)
        self.end(LAST_BYTES_S)
