"""Judges whether a server makes progress. /health is not asked: it stays 200 with a dead engine.

Wedged means: somebody waits (requests in the engine, or our probe) and nothing moved for
``stall_s``: no counter of the engine, no answered probe. Busy is not wedged, and missing metrics
alone are not either.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass

import command
import completion
import container
import layout
import metrics
from errors import HostError
from metrics import Metrics

# The server answered, but not about its engine: says nothing either way.
INCONCLUSIVE = ("unauthorized", "wrong_name")


@dataclass
class Judge:
    """The judgement over time. All times are seconds of one monotonic clock, passed in."""

    stall_s: float
    last_progress: float
    seen: Metrics | None = None
    waits: bool = False  # a probe was sent and got no answer yet
    complaint: str = ""

    @property
    def probe_after_s(self) -> float:
        """How long nothing may move before a probe asks."""
        return min(max(self.stall_s / 4, 1.0), 60.0)

    @property
    def probe_timeout_s(self) -> float:
        """How long a probe waits for its answer."""
        return min(max(self.stall_s / 3, 2.0), 120.0)

    def measured(self, now: float, found: Metrics | None) -> None:
        """Take in the metrics; None: the server gave none."""
        if found is None:
            return
        if self.seen is None or found.progress != self.seen.progress:
            self._moved(now)
        self.seen = found

    def probing(self) -> None:
        """A probe was sent."""
        self.waits = True

    def probed(self, now: float, result: completion.Result) -> None:
        """Take in what a probe brought."""
        if result.ok:
            self._moved(now)
        elif result.fault in INCONCLUSIVE:
            self.waits = False
        else:
            self.complaint = result.detail

    def wants_probe(self, now: float) -> bool:
        """Whether it is time to ask for a completion."""
        return now - self.last_progress >= self.probe_after_s

    def verdict(self, now: float) -> str | None:
        """Why the server counts as wedged; None if it does not."""
        still = now - self.last_progress
        busy = self.seen is not None and self.seen.running + self.seen.waiting > 0
        if still <= self.stall_s or not (busy or self.waits):
            return None
        load = (
            f"{self.seen.running} running, {self.seen.waiting} waiting"
            if self.seen
            else "no metrics"
        )
        probe = f"; probe: {self.complaint or 'no answer'}" if self.waits else ""
        return f"wedged: {load}, no progress for {still:.0f} s (allowed {self.stall_s:.0f}){probe}"

    def _moved(self, now: float) -> None:
        self.last_progress, self.waits, self.complaint = now, False, ""


class Probe:
    """A completion asked for in the background, so that nothing waits for it."""

    def __init__(self, target: completion.Target) -> None:
        self._result: completion.Result | None = None
        self._thread = threading.Thread(target=self._ask, args=(target,), daemon=True)
        self._thread.start()

    def _ask(self, target: completion.Target) -> None:
        self._result = completion.complete(target)

    def result(self) -> completion.Result | None:
        """What came back; None while it is under way."""
        return self._result


def self_test(
    address: str, port: int | None, container_id: str, *, under_systemd: bool
) -> list[str]:
    """What keeps the watchdog from seeing or acting, one line each; empty: all works.

    Without ``port`` another host of the replica has the API and judges."""
    problems = []
    if port is not None and metrics.fetch(address, port) is None:
        problems.append(
            f"http://{address}:{port}/metrics shows no vLLM figures: "
            "only probe completions are judged"
        )
    try:
        item = container.inspect(container_id)
        if item is None or item.release is None:
            problems.append("cannot act: the container is gone or lost our label")
        if not under_systemd:
            problems.append("cannot act: not run by systemd, nobody would restart the server")
        elif "on-failure" not in command.run(
            ["systemctl", "show", "--value", "--property=Restart", layout.UNIT]
        ):
            problems.append(f"cannot act: {layout.UNIT} has no Restart=on-failure")
    except HostError as error:
        problems.append(f"cannot act: {error}")
    return problems
