"""One run of a server: start its container, wait until it answers, watch it, stop it."""

from __future__ import annotations

import math
import signal
import threading
import time

import bootguard
import cluster
import completion
import container
import metrics
import nccl
import watchdog
from container import Container
from errors import HostError
from notify import notify, status
from patience import Patience
from release import Release
from serverlog import ServerLog
from team import Team

POLL_S = 0.5
READY_POLL_S = 0.2
EXTEND_S = 60.0
UP_S = 240.0  # compose has 180 s to create and start the container
START_GRACE_S = 10  # vLLM swallows SIGTERM while its engine starts
STOP_MARGIN_S = 15  # above vLLM's own --shutdown-timeout
STOP_POLL_S = 0.1
LAST_BYTES_S = 0.5  # of the last answer, from the engine to the client


class Stopped(Exception):
    """Asked to stop; no failure."""


class ServerFailed(HostError):
    """The server died, is wedged, or never answered."""


class PeerFailed(ServerFailed):
    """Another host of the replica failed: says nothing about this host or the release."""


class PeerLeft(PeerFailed):
    """Another host of the replica was told to stop."""


class Server:
    """A started container and its log."""

    def __init__(self, release: Release, stop: threading.Event, team: Team | None = None) -> None:
        self.release = release
        self.team = team
        self.stop = stop
        self.ready_at: float | None = None
        status("starting the container", extend_s=UP_S)
        own = [cluster.write_override(team.replica, team.rank)] if team else []
        self.item = container.up(release, *own)
        self.begun = time.monotonic()
        self.log = ServerLog(self.item)

    def target(self, timeout_s: float, max_tokens: int = 16) -> completion.Target:
        """The completion that this server should answer."""
        return completion.Target(
            self.release.address,
            self.release.port,
            self.release.served_name,
            timeout_s,
            max_tokens=max_tokens,
        )

    def pause(self, seconds: float = POLL_S) -> None:
        """Wait a little; raises Stopped or ServerFailed as soon as it happens."""
        deadline = time.monotonic() + seconds
        while True:
            if self.stop.is_set():
                raise Stopped
            if self.log.ended.is_set():
                if self.stop.wait(1.0):  # at shutdown both are told to stop, in any order
                    raise Stopped
                raise self.failure(death(self.log.final))
            if self.team:
                self._look_at(self.team)
            left = deadline - time.monotonic()
            if left <= 0:
                return
            self.stop.wait(min(left, POLL_S))

    def _look_at(self, team: Team) -> None:
        """Raise when another rank is gone, or leaves; the workers leave after the head."""
        if fault := team.fault():
            if self.stop.wait(1.0):
                raise Stopped
            raise PeerFailed(fault, self.log.lines())
        if team.is_head and (host := team.leaver()):
            raise PeerLeft(f"{host} was told to stop")

    def failure(self, reason: str) -> ServerFailed:
        """``reason`` with the last lines of the log."""
        return ServerFailed(reason, self.log.lines())

    def wait_ready(self) -> completion.Result:
        """Return the first completion; raises ServerFailed when there will be none."""
        result = self._first_completion()
        self.ready_at = time.monotonic()
        self.prove_rdma()
        return result

    def prove_rdma(self) -> None:
        """Raise where a fabric is declared and NCCL does not say that it uses it."""
        if self.team is None or not self.team.rank.fabric:
            return
        problem = nccl.problem(self.log.networks)
        print(f"serve: fabric: {problem or 'NCCL talks over NET/IB'}", flush=True)
        if problem and self.team.replica.proof:
            raise self.failure(f"fabric: {problem}; or set fabric_proof = False")

    def _first_completion(self) -> completion.Result:
        patience = Patience(self)
        probe = watchdog.Probe(self.target(patience.probe_timeout_s()))
        while True:
            result = probe.result()
            if result is not None and result.ok:
                return result
            if result is not None:
                patience.failed(result)
                self.pause(READY_POLL_S if result.fault == "refused" else POLL_S)
                probe = watchdog.Probe(self.target(patience.probe_timeout_s()))
            patience.check()
            status(f"{self.log.stage} ({patience.elapsed():.0f} s)", extend_s=EXTEND_S)
            self.pause(READY_POLL_S)

    def watch(self) -> None:
        """Keep systemd informed while the server makes progress; raises when it does not."""
        steady = bootguard.Steady()
        judge = watchdog.Judge(self.release.stall_timeout_s, time.monotonic())
        probe: watchdog.Probe | None = None
        tick = min(max(self.release.stall_timeout_s / 20, 1.0), 10.0)
        while True:
            found = metrics.fetch(self.release.address, self.release.port)
            judge.measured(time.monotonic(), found)
            probe = self._probe(judge, probe)
            wedged = judge.verdict(time.monotonic())
            if wedged:
                raise self.failure(wedged)
            notify(
                WATCHDOG=1,
                STATUS=f"serving {self.release.digest} ({self.release.mode}), "
                + (f"{found.running} running, {found.waiting} waiting" if found else "no metrics"),
            )
            steady.tick()
            self.pause(tick)

    def _probe(self, judge: watchdog.Judge, probe: watchdog.Probe | None) -> watchdog.Probe | None:
        result = probe.result() if probe else None
        if result is not None:
            judge.probed(time.monotonic(), result)
        under_way = probe is not None and result is None
        if under_way or not judge.wants_probe(time.monotonic()):
            return probe if under_way else None
        judge.probing()
        return watchdog.Probe(self.target(judge.probe_timeout_s, max_tokens=1))

    def drain(self, *, asked: bool) -> None:
        """Wait until no request runs or waits, at most ``drain_timeout_s``.

        A second request to stop ends the waiting; ``asked``: there was a first one.
        """
        self.stop.clear()
        deadline = time.monotonic() + self.release.drain_timeout_s
        while time.monotonic() < deadline and not self.log.ended.is_set():
            found = metrics.fetch(self.release.address, self.release.port, timeout=2.0)
            if found is None or found.running + found.waiting == 0:
                return
            status(f"draining: {found.running} running, {found.waiting} waiting", extend_s=EXTEND_S)
            if self.stop.wait(POLL_S):
                if asked:
                    return
                asked = True
                self.stop.clear()

    def quit(self, *, asked: bool = True) -> None:
        """Stop as asked: what serves is drained first."""
        if self.team:
            self.team.state = "leaving"
        if self.ready_at is None:
            self.end(START_GRACE_S)
        else:
            self.drain(asked=asked)
            self.end(self.release.drain_timeout_s + STOP_MARGIN_S)

    def end(self, grace_s: float) -> None:
        """Stop the server, kill it after ``grace_s`` seconds, and remove its container.

        It is killed ``LAST_BYTES_S`` after its engine has said that the last request is done: what
        vLLM tears down for seconds then, the kernel takes back at once. A container that cannot be
        removed now is removed by the next start: why the server ends is not hidden by that.
        """
        deadline = time.monotonic() + grace_s
        container.signal_process(self.item, signal.SIGTERM)
        while container.alive(self.item) and time.monotonic() < min(deadline, self._killable_at()):
            status("stopping the server", extend_s=EXTEND_S)
            time.sleep(STOP_POLL_S)
        container.signal_process(self.item, signal.SIGKILL)
        status("removing the container", extend_s=2 * EXTEND_S)
        try:
            container.remove(self.item)
        except HostError as error:
            print(f"serve: {error}; the next start removes the container", flush=True)

    def _killable_at(self) -> float:
        done = self.log.drained_at
        return math.inf if done is None else done + LAST_BYTES_S


def death(item: Container | None) -> str:
    """How a container ended, in one line."""
    if item is None:
        return "the server is gone and Docker does not know how; see systemctl status docker"
    why = " (killed: out of memory)" if item.oom_killed else ""
    return f"the server exited with {item.exit_code}{why}"
