"""The end of every run: answers under the right name, the claims held, the door closed."""

from __future__ import annotations

from typing import Any

from pyinfra import host
from pyinfra.api.deploy import deploy
from pyinfra.api.operation import operation

from deploys import programs, proxy, remote, serve
from deploys.host_state import current
from deploys.operations import Commands, refuse
from deploys.report import RUN, closing_table
from fleet import difference, preflight, render, vllm_config
from fleet.settings import Settings

GATE_S = 300  # some short answers, also behind a full queue
PATIENCE_S = 30  # for a connection that breaks


def _ask(settings: Settings) -> dict[str, Any]:
    """``prove.py``'s answer; a host that gives none is an answer too.

    A release that is not the declared one is asked under the name that it has on the host.
    """
    declared = {
        "listen": vllm_config.LISTEN,
        "port": settings.port,
        "served_name": vllm_config.served_name(settings),
    }
    if _is_worker(settings):
        declared["recorded"] = True
    asked = declared if _wanted(settings) == render.release(settings).digest else {}
    recorded = settings.model.golden or {}
    command = programs.with_siblings("prove", {**asked, "golden": recorded})
    try:
        lines = remote.insist(host, command, patience_s=PATIENCE_S, timeout_s=GATE_S)
        return remote.parse(lines)
    except (remote.Refused, remote.Lost) as error:
        return {"ok": False, "detail": str(error)}


def _is_worker(settings: Settings) -> bool:
    """Whether another host of its replica has the API."""
    return bool(settings.ranks) and settings.ranks[0].host != settings.host


def _wanted(settings: Settings) -> str:
    """What this run was to make the host serve; the declared release if it was to change none."""
    return RUN.of(host.name).wanted or render.release(settings).digest


def _judge(settings: Settings, answer: dict[str, Any]) -> str:
    """Record the answer; "" when it proves the host, else what is wrong."""
    wanted, now = _wanted(settings), current(settings)
    result = RUN.of(host.name)
    facts = difference.facts(now.serving.texts)
    result.mode, result.model = str(facts.get("mode", "")), str(facts.get("model", ""))
    result.release = serve.running(now) or ""
    result.completion = " ".join(str(answer.get("text", "")).split())
    result.tokens_per_s = answer.get("tokens_per_s")
    result.proofs = list(answer.get("proofs") or [])
    result.server = {key: answer[key] for key in ("version", "golden") if answer.get(key)}
    result.server |= {key: facts[key] for key in ("image", "revision") if facts.get(key)}
    problem = "" if answer.get("ok") else str(answer.get("detail"))
    problem = problem or _refuted(result.proofs)
    if not problem and result.release != wanted:
        problem = f"serves release {result.release or 'none'}, wanted {wanted}; run deploy.py"
    result.proved = not problem
    result.reason = result.reason or problem
    if not problem and result.outcome == "not reached":
        result.outcome = "serving"
    return problem


def _refuted(proofs: list[dict[str, str]]) -> str:
    wrong = [proof for proof in proofs if proof["verdict"] == "refuted"]
    lines = [
        f"{p['name']}: claimed {p['claimed']}, found {p['found']} ({p['line']})" for p in wrong
    ]
    return f"{len(wrong)} refuted: {'; '.join(lines)}" if wrong else ""


def _door(settings: Settings) -> str:
    """As clients outside see it: who is let in, and who is not."""
    probed, result = proxy.probe(settings), RUN.of(host.name)
    problem = "; ".join(probed.get("problems", []))
    if settings.exposed:
        result.proofs.append(proxy.proof(settings, probed))
    result.proved = result.proved and not problem
    result.reason = result.reason or problem
    return problem


@operation()
def answers(settings: Settings) -> Commands:
    """Asks while the run executes; a plan has nothing to change here."""
    if not host.state.is_executing:
        return
    if host.name in RUN.findings:  # what the run has mended since is no finding any more
        RUN.findings[host.name] = preflight.findings(settings, current(settings))
    found = (_judge(settings, _ask(settings)), _door(settings))
    if problem := "; ".join(filter(None, found)):
        yield refuse(problem)


def expect() -> None:
    """The run has to prove every host."""
    RUN.expects_proof = True
    RUN.closing = closing_table


@deploy("Verify")
def run(*, settings: Settings) -> None:
    expect()
    answers(name="Answer a completion", settings=settings)
