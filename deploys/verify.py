"""The gate at the end of every run: a real completion under the right name, from every host."""

from __future__ import annotations

from typing import Any

import layout
from pyinfra import host
from pyinfra.api.command import StringCommand
from pyinfra.api.deploy import deploy
from pyinfra.api.operation import operation

from deploys import remote
from deploys.operations import Commands, refuse
from deploys.report import RUN
from fleet import render
from fleet.settings import Settings

GATE_S = 180  # one short completion, also behind a full queue


def _ask() -> dict[str, Any]:
    """``completion.py``'s answer; a host that gives none is an answer too."""
    command = StringCommand("python3", str(layout.PROGRAMS / "completion.py"))
    try:
        return remote.parse(remote.run(host, command, timeout_s=GATE_S))  # type: ignore[arg-type]
    except remote.Refused as error:
        return {"ok": False, "problem": str(error)}


def _judge(settings: Settings, answer: dict[str, Any]) -> str:
    """Record the answer; "" when it proves the host, else what is wrong."""
    wanted = render.release(settings).digest
    result = RUN.of(host.name)
    result.mode, result.model = settings.vllm_mode, settings.model.repo
    result.release = str(answer.get("release") or "")
    result.completion = str(answer.get("text") or "").strip()
    result.tokens_per_s = answer.get("tokens_per_s")
    problem = "" if answer.get("ok") else str(answer.get("problem") or answer)
    if not problem and result.release != wanted:
        problem = f"serves release {result.release}, declared is {wanted}; run deploy.py"
    result.proved = not problem
    result.reason = result.reason or problem
    if not problem and result.outcome == "not reached":
        result.outcome = "serving"
    return problem


@operation()
def answers(settings: Settings) -> Commands:
    """Asks while the run executes; a plan has nothing to change here."""
    if host.state.is_executing and (problem := _judge(settings, _ask())):
        yield refuse(problem)


@deploy("Verify")
def run(*, settings: Settings) -> None:
    RUN.expects_proof = True
    answers(name="Answer a completion", settings=settings)
