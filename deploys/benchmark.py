"""Measure what runs, on all hosts at once, and fetch the results."""

from __future__ import annotations

import datetime
import json
from pathlib import Path

import layout
from pyinfra import host
from pyinfra.api.command import FunctionCommand, StringCommand
from pyinfra.api.deploy import deploy
from pyinfra.api.host import Host
from pyinfra.api.operation import operation
from pyinfra.api.state import State

from deploys import remote, serve, verify
from deploys.job import job
from deploys.operations import Commands, File, tell, write_command
from deploys.report import RUN
from fleet import render
from fleet.measured import RESULTS
from fleet.settings import Settings

DEADLINE_S = 24 * 3600
PATIENCE_S = 60
REQUEST = str(layout.STATE / "benchmark.json")
RESULT = str(layout.STATE / "benchmark" / "result.json")


def request(settings: Settings) -> dict[str, object]:
    """What ``files/benchmark.py`` is asked to do."""
    return {
        "digest": serve.digest(settings),
        "hub": str(Path(settings.models_dir) / "hub"),
        "tokenizer": f"{render.HUB}/{settings.model.snapshot}",
        "inputs": settings.bench_input,
        "outputs": settings.bench_output,
        "concurrency": settings.bench_concurrency,
        "repeats": settings.bench_repeats,
        "warmups": settings.bench_warmups,
        "prompts": settings.bench_prompts,
    }


@operation()
def measured(settings: Settings) -> Commands:
    """Each run measures anew."""
    yield write_command({REQUEST: File(json.dumps(request(settings), sort_keys=True))})
    argv = ["/usr/bin/python3", "-B", str(layout.PROGRAMS / "benchmark.py"), REQUEST]
    yield job("benchmark", argv, deadline_s=DEADLINE_S)
    yield FunctionCommand(_fetch, (), {})


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
