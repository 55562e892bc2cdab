"""How this host stands: what serves, whether it answers, how busy it is, who changes it.

Read-only. Travels on stdin together with its siblings, so it also tells of a bare or an old host.
"""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import cluster
import command
import completion
import durable
import hostlock
import journal
import layout
import metrics
import observation
import phases
import release as releases
import systemd
from errors import HostError
from release import Release

GENERATED = "vllm:generation_tokens_total"
PROBE_S = 60.0


def main(request: dict[str, Any]) -> None:
    """Print one JSON line. Keys of ``request``, all optional: logs (how many lines)."""
    errors: dict[str, str] = {}
    digest = releases.linked(layout.CURRENT)
    release = _try(errors, "release", lambda: releases.read(digest) if digest else None)
    found = {
        "release": asdict(release) if release else None,
        "previous": releases.linked(layout.PREVIOUS),
        "unit": _try(errors, "unit", lambda: asdict(systemd.show())),
        "serving": durable.read_json(layout.SERVING),
        "failure": durable.read_json(layout.FAILURE),
        "answer": _try(errors, "answer", lambda: answer(release) if release else None),
        "lock": _try(errors, "lock", lock),
        "activation": _try(errors, "activation", activation),
        "log": _try(errors, "log", lambda: log(int(request.get("logs", 0)))) or [],
        "errors": errors,
    }
    print(json.dumps(found, sort_keys=True), flush=True)


def _try(errors: dict[str, str], name: str, read: Callable[[], Any]) -> Any:
    """What ``read`` returns; None and a line in ``errors`` where the host cannot tell."""
    try:
        return read()
    except (HostError, OSError, subprocess.SubprocessError, ValueError) as error:
        errors[name] = " ".join(str(error).split()) or type(error).__name__
        return None


def answer(release: Release) -> dict[str, Any]:
    """A real completion under the release's name, and the load just before it.

    ``running`` and ``waiting`` are requests of others. ``tokens_per_s`` is what the server
    generated for all of its clients while the completion was made.
    """
    before, begun = metrics.fetch(release.address, release.port), time.monotonic()
    worker = cluster.is_worker(release)
    target = observation.target(release, PROBE_S)
    result = (completion.recorded() if worker else None) or completion.complete(target)
    seconds, after = time.monotonic() - begun, metrics.fetch(release.address, release.port)
    return {
        **asdict(result),
        "running": before.running if before else None,
        "waiting": before.waiting if before else None,
        "tokens_per_s": _speed(before, after, seconds) or result.tokens_per_s or None,
    }


def _speed(
    before: metrics.Metrics | None, after: metrics.Metrics | None, seconds: float
) -> float | None:
    if before is None or after is None:
        return None
    tokens = [dict(figures.progress).get(GENERATED, 0.0) for figures in (before, after)]
    return round((tokens[1] - tokens[0]) / max(seconds, 1e-6), 1)


def lock() -> dict[str, Any] | None:
    """Who changes this host now; ``stale`` says why nobody does in truth."""
    if not layout.LOCK.exists():
        return None
    held = hostlock.holder()
    alive = systemd.show(layout.ACTIVATE_UNIT).alive
    return {
        "holder": held.words() if held else "nobody known",
        "stale": hostlock.stale(held, activation_alive=alive),
    }


def activation() -> dict[str, object] | None:
    """The last change of what is served; ``interrupted`` if it was left half-way."""
    last = journal.load()
    if last is None:
        return None
    return phases.report(last, alive=systemd.show(layout.ACTIVATE_UNIT).alive)


def log(lines: int) -> list[str]:
    """The last lines of the server; vllm.service has taken secrets out of them."""
    if lines < 1:
        return []
    argv = ["journalctl", f"--unit={layout.UNIT}", f"--lines={lines}", "--output=cat", "--no-pager"]
    return command.run(argv).splitlines()
