"""Long jobs on a host (pull, download): started once, joined by a second run, told meanwhile."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from pyinfra.api.command import FunctionCommand
from pyinfra.api.host import Host
from pyinfra.api.state import State

from deploys import programs, remote
from deploys.operations import File, tell
from deploys.report import RUN

POLL_S = 1.0
TELL_S = 10.0
PATIENCE_S = 300.0


@dataclass(frozen=True)
class Job:
    """``argv`` on a host. ``files`` are written before it starts, and not when it is joined;
    ``after`` runs on the host when it was killed, failed or was stopped; no spaces in its words.
    One that ``serves`` is done when it tells systemd that it is ready, and goes on; it is never
    joined but started anew, and takes the place of another of its kind: they listen on one port."""

    kind: str
    argv: Sequence[str]
    deadline_s: float
    files: Mapping[str, File] = field(default_factory=dict)
    after: Sequence[str] = ()
    serves: bool = False

    @property
    def unit(self) -> str:
        digest = hashlib.sha256(json.dumps([self.kind, *self.argv]).encode()).hexdigest()[:12]
        return f"vllm-fleet-{self.kind}-{digest}.service"

    def request(self) -> dict[str, object]:
        """What ``files/job.py`` reads to start it."""
        files = [{"path": p, "text": f.text, "mode": f.mode} for p, f in self.files.items()]
        return {
            "unit": self.unit,
            "argv": list(self.argv),
            "start": True,
            "files": files,
            "after": list(self.after),
            "serves": self.serves,
            "replaces": [f"vllm-fleet-{self.kind}-*.service"] if self.serves else [],
        }


def job(kind: str, argv: Sequence[str], *, deadline_s: float) -> FunctionCommand:
    """A command that runs ``argv`` on the host to its end; fails with the job's last line."""
    return run(Job(kind, argv, deadline_s))


def run(job: Job) -> FunctionCommand:
    """A command that runs the job to its end; fails with its last line."""

    def follow(state: State, host: Host) -> bool:
        problem = followed(host, job)
        return tell(host, f"{job.kind}: {problem}") if problem else True

    return FunctionCommand(follow, (), {})


def followed(host: Host, job: Job) -> str:
    """Run the job to its end; "" or what went wrong."""
    RUN.following.add((host.name, job.kind))
    try:
        return _follow(host, job)
    except (remote.Refused, remote.Lost) as error:
        return str(error)
    finally:
        RUN.following.discard((host.name, job.kind))


def _follow(host: Host, job: Job) -> str:
    """Wait for the unit's end; "" when it succeeded, else what went wrong."""
    began = told = time.monotonic()
    request = job.request()
    while True:
        command = programs.command("job", request)
        answer = remote.parse(remote.insist(host, command, patience_s=PATIENCE_S))
        if answer["state"] == "done":
            return ""
        if answer["state"] == "absent":
            return "it was stopped on the host, or the host was booted; run again to go on"
        if answer["state"] != "running":
            return str(answer["line"] or f"ended with status {answer['exit']}")
        now = time.monotonic()
        if now - began > job.deadline_s:
            return (
                f"not done after {job.deadline_s:.0f} s; it goes on as {job.unit}, run again to "
                "join it"
            )
        if now - told > TELL_S:
            told = now
            host.log(f"{job.kind}: {now - began:.0f} s  {answer['line']}")
        request = {"unit": job.unit, "start": False}
        time.sleep(POLL_S)
