"""What each host serves, how it does, and in what it is not as declared. Read-only.

Two remote commands a host: the snapshot that every step compares with, and ``files/status.py``.
"""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pyinfra import host
from pyinfra.api.deploy import deploy
from pyinfra.api.operation import operation

from deploys import base, cache, engine, members, model, monitoring, programs, proxy, remote, serve
from deploys.host_state import current
from deploys.operations import Commands, differing
from deploys.report import RUN, RunReport, console, table_of
from fleet.settings import Settings
from fleet.snapshot import Snapshot
from fleet.standing import Standing, standing

ANSWER_S = 120  # a completion behind a full queue, and what is read around it
NAMES_SHOWN = 5

_standings: dict[str, Standing] = {}


def wrong(settings: Settings, now: Snapshot) -> list[str]:
    """Files, image and weights that are not as declared, a line for each kind."""
    kinds = {
        "host programs and unit": differing(now, cache.files()),
        "release files": differing(now, serve.staged(settings)),
        "host configuration": differing(now, base.files(settings, now)),
    }
    if now.serving.current != serve.digest(settings):
        del kinds["release files"]  # told as a difference of releases
    lines = [f"{kind}: {_names(files)} not as declared" for kind, files in kinds.items() if files]
    if settings.vllm_image not in now.docker.images:
        lines.append(f"image: {settings.vllm_image} is not on the host")
    for lock in settings.locks:
        if not model.whole(settings, lock, now):
            lines.append(f"weights of {lock.repo}: not whole at revision {lock.revision}")
    return [*lines, *proxy.drift(settings, now)]


def _names(paths: dict[str, Any]) -> str:
    names = [Path(path).name for path in sorted(paths)]
    more = f" and {len(names) - NAMES_SHOWN} more" if len(names) > NAMES_SHOWN else ""
    return f"{', '.join(names[:NAMES_SHOWN])}{more}"


def _told(settings: Settings) -> dict[str, Any]:
    """What ``files/status.py`` says; a host that cannot run it says why."""
    command = programs.with_siblings("status", {"logs": settings.logs})
    try:
        return remote.parse(remote.run(host, command, timeout_s=ANSWER_S))
    except (remote.Refused, OSError, EOFError) as error:
        return {"errors": {"answer": f"status: {error}"}}


def _read(settings: Settings) -> Standing:
    if settings.host not in members.SERVING:
        return Standing(settings.host, drift=_helping(settings))
    now, told = current(settings), _told(settings)
    if "snapshot" in now.errors:
        return Standing(settings.host, drift=[f"host: {now.errors['snapshot']}"])
    return standing(settings, now, told, [*wrong(settings, now), *_helping(settings)])


def _helping(settings: Settings) -> list[str]:
    """What is wrong with a host as a gateway, and as a monitor."""
    lines = monitoring.drift(settings) if settings.host in members.MONITORS else []
    if settings.host in members.GATEWAYS:
        found = current(settings).gateway
        lines += [f"gateway: {one} is {found.get(one, 'not behind it')}"
                  for one in members.BEHIND if found.get(one) != "UP"]  # fmt: skip
    return lines


@operation()
def stands(settings: Settings) -> Commands:
    """Read while the run executes; there is never anything to change."""
    if not host.state.is_executing:
        return
    found = _standings[host.name] = _read(settings)
    RUN.of(host.name).outcome = found.state
    RUN.of(host.name).reason = "; ".join(found.drift)
    host.noop(found.state)
    yield from ()


def tell(run: RunReport) -> None:
    """The table, or JSON, on standard output."""
    found = [
        _standings.get(name) or Standing(name, drift=[result.reason or result.outcome])
        for name, result in run.results.items()
    ]
    if any(settings.json_output for settings in engine.SETTINGS.values()):
        hosts = [{**asdict(one), "as_declared": one.as_declared} for one in found]
        print(json.dumps({"exit_code": run.exit_code(), "hosts": hosts}, indent=1, sort_keys=True))
        return
    console(sys.stdout).print(table_of(_columns(found)))
    for one in found:
        for line in _below(one):
            print(f"{one.host}: {line}")


def _columns(found: list[Standing]) -> list[tuple[str, list[str]]]:
    return [
        ("host", [s.host for s in found]),
        ("state", [s.state for s in found]),
        ("mode", [s.mode or "" for s in found]),
        ("model", [s.model or "" for s in found]),
        ("release", [s.release or "" for s in found]),
        ("since", [s.since or "" for s in found]),
        ("answers", ["yes" if s.healthy else "no" for s in found]),
        ("running", [_number(s.running) for s in found]),
        ("waiting", [_number(s.waiting) for s in found]),
        ("tokens/s", [_number(s.tokens_per_s) for s in found]),
        ("available", [_gib(s.mem_available_kib) for s in found]),
        ("driver", [s.driver or "" for s in found]),
    ]


def _below(one: Standing) -> list[str]:
    """What has no place in a table."""
    lock = [f"lock held by {one.lock}"] if one.lock else []
    return [*one.drift, *lock, *(f"log: {line}" for line in one.log)]


def _number(value: float | None) -> str:
    return "" if value is None else str(value)


def _gib(kib: int | None) -> str:
    return "" if kib is None else f"{kib / 2**20:.1f} GiB"


def expect() -> None:
    """The run ends with the standing of every host that was asked for."""
    RUN.closing = tell


@deploy("Status")
def run(*, settings: Settings) -> None:
    expect()
    stands(name="Read how the host stands", settings=settings)
