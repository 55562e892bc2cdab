"""Carries out an activation on this host: stop, flip, start, gate; or back again."""

from __future__ import annotations

import contextlib
import subprocess
import time
from dataclasses import asdict, replace
from typing import Any

import cluster
import completion
import container
import failures
import journal
import layout
import observation
import phases
import proofs
import release as releases
import speed
import systemd
from errors import HostError, Refused
from phases import Activation, Outcome, Phase
from release import Release

POLL_S = 0.5
STOP_MARGIN_S = 300.0  # for the kill, Docker and a worker that stops after its head
LONGEST_DRAIN_S = 3600  # that a mode may have
SETTLE_S = 1.5  # a server that dies of its first answers is not switched to


class Transaction:
    """One activation under way. ``now`` is its record; each phase is kept before it is acted on."""

    def __init__(self, activation: Activation) -> None:
        self.now = activation

    def run(self, course: phases.Course) -> Activation:
        """Take ``course`` to its end; the record then has an outcome."""
        try:
            if course == "forward":
                self.forward()
            elif course == "start":
                self.start_new()
            elif course == "revert":
                self.revert(self.now.reason or "interrupted")
            elif course == "restart":
                self.start_old()
        except (HostError, OSError, subprocess.SubprocessError) as error:
            self.failed(error)
        return self.now

    def forward(self) -> None:
        """From the beginning: stop the old server, flip, start the new one."""
        if serves(self.now.release):
            self.finish("unchanged")
            return
        releases.read(self.now.release)
        self.stop()
        if not systemd.show().enabled:  # before the flip: a boot from here on takes it up
            systemd.enable()
        previous = (
            self.now.before if self.now.before != self.now.release else self.now.before_previous
        )
        releases.point(current=self.now.release, previous=previous)
        self.move("flipped")
        self.start_new()

    def start_new(self) -> None:
        """The links name the new release: start and gate it."""
        self.move("starting")
        self.start(self.now.release)
        self.move("gating")
        release = releases.read(self.now.release)
        self.gate(release, claims=True)
        self.judge_speed(release)
        self.finish("switched")

    def failed(self, error: Exception) -> None:
        """Go back, or say that going back failed too."""
        reason = " ".join(str(error).split())
        log = list(error.log) if isinstance(error, HostError) else []
        if self.now.phase in ("reverting", "restarting", "regating"):
            both = f"{self.now.reason}; going back to {self.now.before} failed: {reason}"
            self.now = replace(self.now, log=[*self.now.log, *log])
            self.finish("revert_failed", both)
            return
        self.now = replace(self.now, log=log)
        if self.now.before == self.now.release:
            self.finish("revert_failed", f"{reason}; it is the release to go back to as well")
            return
        try:
            self.revert(reason)
        except (HostError, OSError, subprocess.SubprocessError) as worse:
            self.failed(worse)

    def revert(self, reason: str) -> None:
        """Stop what does not work, flip back, serve the old release again."""
        self.now = journal.keep_if_possible(phases.moved(self.now, "reverting", reason=reason))
        try:
            if self.now.before is None or not serves(self.now.before):
                self.wait(systemd.begin("stop"), stop_bound_s(self.now))
        finally:  # whatever becomes of the stop, a boot must not take what was refuted
            self.flip_back()
        if self.now.before is None:
            if not self.now.was_enabled:
                systemd.disable()
            self.finish("reverted", f"{reason}; it was the first release: nothing serves")
            return
        self.start_old()

    def flip_back(self) -> None:
        """The links as they were."""
        releases.point(current=self.now.before, previous=self.now.before_previous)

    def start_old(self) -> None:
        """The links name the old release: start and gate it."""
        before = str(self.now.before)
        self.now = journal.keep_if_possible(phases.moved(self.now, "restarting"))
        self.start(before)
        self.now = journal.keep_if_possible(phases.moved(self.now, "regating"))
        self.gate(releases.read(before), claims=False)
        self.finish("reverted", self.now.reason)

    def stop(self) -> None:
        """Stop the server; it drains itself and says when it is done with that."""
        stopped = time.time() if systemd.show().serving else self.now.stopped
        self.move("draining", stopped=stopped)
        self.wait(systemd.begin("stop"), stop_bound_s(self.now))
        if self.now.phase == "draining":
            self.move("stopping")
        container.clear()

    def start(self, digest: str) -> None:
        """Start vllm.service; returns when it answered. Raises HostError with the server's log."""
        systemd.reset_failed()
        release = releases.read(digest)
        begun = time.time()
        starting = systemd.begin("start")
        if self.wait(starting, 2 * release.ready_timeout_s + 600) != 0:
            raise failures.of_start(digest, begun)
        if self.now.served is None:
            self.now = replace(self.now, served=time.time())

    def wait(self, job: subprocess.Popen[str], bound_s: float) -> int:
        """Until a systemctl job ends, showing what the unit says; returns its exit status."""
        deadline = time.monotonic() + bound_s
        while time.monotonic() < deadline:
            text = systemd.show().text
            if self.now.phase == "draining" and text.startswith("stopping"):
                self.move("stopping")
            if text != self.now.detail:
                self.now = journal.show(replace(self.now, detail=text))
            with contextlib.suppress(subprocess.TimeoutExpired):
                return job.wait(POLL_S)
        job.kill()
        raise HostError(
            f"systemctl was not done after {bound_s:.0f} s; see systemctl status {layout.UNIT}"
        )

    def gate(self, release: Release, *, claims: bool) -> None:
        """A completion, no claim refuted if ``claims``, the same server still there a moment on."""
        settled = time.monotonic() + SETTLE_S
        # of a worker only the head can be asked, on the head
        worker = cluster.is_worker(release)
        answer = completion.recorded() if worker else completion.complete(target(release))
        if answer is None or not answer.ok:
            told = answer.detail if answer else "the server is gone"
            raise failures.cause(release.digest, self.now.started, f"gate: {told}")
        before = container.inspect(release.container)
        if claims:
            prove(release)
        time.sleep(max(settled - time.monotonic(), 0))
        after = container.inspect(release.container)
        same = before is not None and after is not None and after.id == before.id
        if after is None or not (same and after.running and systemd.show().serving):
            told = "gate: the server went away after its first answers"
            raise failures.cause(release.digest, self.now.started, told)
        if after.release != release.digest:
            raise HostError(
                f"gate: the container is of release {after.release}, wanted {release.digest}"
            )
        self.now = replace(self.now, gate=asdict(answer))

    def judge_speed(self, release: Release) -> None:
        """Where a baseline was given: the new release must not have lost too much against it."""
        if not (asked := self.now.speed) or cluster.is_worker(release):
            return
        self.now = journal.show(replace(self.now, detail="measuring the speed"))
        verdict = speed.gate(target(release), speed.limit_from(asked))
        self.now = replace(
            self.now, gate={**(self.now.gate or {}), "loss_percent": verdict.loss_percent}
        )

    def move(self, phase: Phase, **changes: Any) -> None:
        """Keep the next phase before it is acted on."""
        self.now = journal.keep(phases.moved(self.now, phase, **changes))
        print(f"{self.now.id}: {phase}", flush=True)

    def finish(self, outcome: Outcome, reason: str = "") -> None:
        """The last phase; it is kept even where the disk is full, in /run."""
        self.now = journal.keep_if_possible(
            phases.moved(self.now, "done", outcome=outcome, reason=reason, finished=time.time())
        )
        print(f"{self.now.id}: {outcome} {reason}", flush=True)


def stop_bound_s(activation: Activation) -> float:
    """How long a stop may take, whichever release runs: it drains, is told to end, and may take as
    long again."""
    digests = [digest for digest in (activation.before, activation.release) if digest]
    return 2 * max(map(drain_s, digests)) + STOP_MARGIN_S


def drain_s(digest: str) -> int:
    """A release's ``drain_timeout_s``; the longest there is where it cannot be read."""
    try:
        return releases.read(digest).drain_timeout_s
    except Refused:
        return LONGEST_DRAIN_S


def target(release: Release) -> completion.Target:
    """The completion that ``release`` has to answer."""
    return observation.target(release, max(60, release.stall_timeout_s))


def prove(release: Release) -> None:
    """What the new server says of itself must not contradict what its release claims."""
    # of a worker its head tells; an older version staged no claims
    if cluster.is_worker(release) or not release.claims:
        return
    wrong = proofs.refuted(proofs.prove(release.claims, observation.observe(release)))
    if wrong:
        told = "; ".join(proof.words() for proof in wrong)
        raise HostError(f"gate: {len(wrong)} refuted: {told}")


def serves(digest: str) -> bool:
    """Whether this release serves now: its container runs, and the unit had its completion."""
    if releases.linked(layout.CURRENT) != digest or not systemd.show().serving:
        return False
    item = container.inspect(layout.CONTAINER)
    return item is not None and item.running and item.release == digest
