"""Long jobs on a host (pull, download): started once, joined by a second run, told meanwhile."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Sequence

from pyinfra.api.command import FunctionCommand
from pyinfra.api.host import Host
from pyinfra.api.state import State

from deploys import programs, remote
from deploys.operations import tell

POLL_S = 1.0
TELL_S = 10.0
PATIENCE_S = 300.0


def job(kind: str, argv: Sequence[str], *, deadline_s: float) -> FunctionCommand:
    """A command that runs ``argv`` on the host to its end; fails with the job's last line."""
    digest = hashlib.sha256(json.dumps([kind, *argv]).encode()).hexdigest()[:12]
    unit = f"vllm-fleet-{kind}-{digest}.service"

    def follow(state: State, host: Host) -> bool:
        try:
            problem = _follow(host, kind, unit, list(argv), deadline_s)
        except (remote.Refused, remote.Lost) as error:
            problem = str(error)
        return tell(host, f"{kind}: {problem}") if problem else True

    return FunctionCommand(follow, (), {})


def _follow(host: Host, kind: str, unit: str, argv: list[str], deadline_s: float) -> str:
    """Wait for the unit's end; "" when it succeeded, else what went wrong."""
    began = told = time.monotonic()
    request = {"unit": unit, "argv": argv, "start": True}
    while True:
        command = programs.command("job", request)
        answer = remote.parse(remote.insist(host, command, patience_s=PATIENCE_S))
        if answer["state"] == "done":
            return ""
        if answer["state"] != "running":
            return str(answer["line"] or f"ended with status {answer['exit']}")
        now = time.monotonic()
        if now - began > deadline_s:
            return f"not done after {deadline_s:.0f} s; it goes on as {unit}, run again to join it"
        if now - told > TELL_S:
            told = now
            host.log(f"{kind}: {now - began:.0f} s  {answer['line']}")
        request["start"] = False
        time.sleep(POLL_S)
