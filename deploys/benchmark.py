"""Measure what runs, on all hosts at once, and fetch the results."""

from __future__ import annotations

import datetime
import json
from pathlib import Path

import layout
from pyinfra import host, state
from pyinfra.api.command import FunctionCommand, StringCommand
from pyinfra.api.deploy import deploy
from pyinfra.api.host import Host
from pyinfra.api.operation import operation
from pyinfra.api.state import State

from deploys import drain, invocation, remote, serve, turns, verify
from deploys.host_state import current
from deploys.job import Job, followed
from deploys.job import run as run_job
from deploys.operations import Commands, File, refuse, tell, write_command
from deploys.report import RUN
from fleet import vllm_config
from fleet.measured import RESULTS
from fleet.settings import Settings

DEADLINE_S = 24 * 3600
PATIENCE_S = 60
REQUEST = str(layout.STATE / "benchmark.json")
RESULT = str(layout.STATE / "benchmark" / "result.json")
ARGV = ("/usr/bin/python3", "-B", str(layout.PROGRAMS / "benchmark.py"), REQUEST)
NAME = "benchmark"
JOB = Job(NAME, ARGV, DEADLINE_S)


def request(settings: Settings) -> dict[str, object]:
    """What ``files/benchmark.py`` is asked to do."""
    return {
        "digest": serve.digest(settings),
        "hub": str(Path(settings.models_dir) / "hub"),
        "tokenizer": f"{vllm_config.HUB}/{settings.model.snapshot}",
        "inputs": settings.bench_input,
        "outputs": settings.bench_output,
        "concurrency": settings.bench_concurrency,
        "repeats": settings.bench_repeats,
        "warmups": settings.bench_warmups,
        "prompts": settings.bench_prompts,
        "offline": settings.bench_offline,
        **invocation.operator(),
    }


@operation()
def measured(settings: Settings) -> Commands:
    """Each run measures anew."""
    if settings.bench_offline and settings.ranks:
        if state.is_executing:
            turns.rollout(settings, NAME).absent(host.name)
        yield refuse(
            f"bench_offline: found a replica of several hosts ({settings.replica}); allowed: hosts "
            "that serve alone; leave them out with --exclude"
        )
        return
    if settings.bench_offline and state.is_executing:
        if serve.running(current(settings)):
            drain.remember(host.name, current(settings))
        turns.rollout(settings, NAME).declare(host.name, True)
    yield write_command({REQUEST: File(json.dumps(request(settings), sort_keys=True))})
    if settings.bench_offline:
        yield FunctionCommand(_in_turn, (settings,), {})
        return
    yield run_job(JOB)
    yield FunctionCommand(_fetch, (), {})


def _in_turn(state: State, host: Host, settings: Settings) -> bool:
    """The host's measure in its wave: it does not serve for a part of it."""
    roll = turns.rollout(settings, NAME)
    wave = roll.turn(host.name)
    if wave is None:
        return tell(host, f"benchmark: its wave did not begin, because of {roll.broken_by}")
    label, good = f"wave {wave + 1} of {len(roll.waves)}", False
    try:
        problem = _out_and_back(host, settings, label)
        good = tell(host, f"benchmark: {problem}") if problem else _fetch(state, host)
    finally:  # the other hosts wait for it
        roll.report(host.name, "switched" if good else "failed")
    return good


def _out_and_back(host: Host, settings: Settings, label: str) -> str:
    """Measure while no gateway sends requests; "" or what went wrong."""
    roll = turns.rollout(settings, NAME)
    if line := drain.outage(settings, roll.waves, roll.members):
        return line
    try:
        drain.out(host, settings, label)
        problem = followed(host, JOB)
    except (remote.Refused, remote.Lost) as error:
        problem = str(error)
    return "; ".join(filter(None, (problem, drain.back(host, label))))


def _fetch(state: State, host: Host) -> bool:
    try:
        lines = remote.insist(host, StringCommand("cat", RESULT), patience_s=PATIENCE_S)
        found = remote.parse(lines)
        path = _keep(host.name, found)
    except (remote.Refused, remote.Lost, OSError) as error:
        return tell(host, f"benchmark: the result could not be fetched: {error}; run it again")
    for line in found.get("problems", []):
        host.log(f"worth little: {line}")
    host.log(f"result: {path}")
    if why := found.get("failed"):
        return tell(host, f"benchmark, offline: {why}; the rest is in {path}")
    return True


def _keep(name: str, found: dict[str, object]) -> Path:
    now = datetime.datetime.now(datetime.UTC)
    path = RESULTS / f"{now.strftime('%Y%m%dT%H%M%S.%fZ')}-{name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    part.write_text(json.dumps({"host": name, **found}, indent=1, sort_keys=True) + "\n")
    part.replace(path)
    return path


@deploy("Benchmark")
def run(*, settings: Settings) -> None:
    verify.expect()
    RUN.of(host.name).wanted = serve.digest(settings)
    measured(name="Measure what runs", settings=settings)
