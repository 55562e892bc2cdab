"""What a host is like now: ONE batched snapshot, read once and read again only after a change."""

from __future__ import annotations

import json
from dataclasses import dataclass, fields

from pyinfra import host, state
from pyinfra.api.exceptions import FactProcessError
from pyinfra.api.facts import FactBase

from deploys import programs
from fleet.settings import Settings
from fleet.snapshot import Snapshot, SnapshotError


@dataclass(frozen=True)
class Watch:
    """What a step compares: paths, package names, unit names, image references."""

    files: tuple[str, ...] = ()
    packages: tuple[str, ...] = ()
    units: tuple[str, ...] = ()
    images: tuple[str, ...] = ()
    disks: tuple[str, ...] = ()
    ports: tuple[int, ...] = ()
    sysctls: tuple[str, ...] = ()
    sources: tuple[str, ...] = ()  # words to look for in apt's source files

    def __or__(self, other: Watch) -> Watch:
        merged = {
            f.name: tuple(dict.fromkeys((*getattr(self, f.name), *getattr(other, f.name))))
            for f in fields(self)
        }
        return Watch(**merged)


class HostSnapshot(FactBase[Snapshot | None]):
    """``files/snapshot.py``'s answer; None when the host gave none."""

    def command(self) -> str:
        return " ".join(programs.PYTHON)

    @staticmethod
    def default() -> None:
        return None

    def process(self, output: list[str]) -> Snapshot:
        try:
            return Snapshot.parse("\n".join(output))
        except SnapshotError as error:
            raise FactProcessError(str(error)) from error


_seen: dict[tuple[str, bool], Snapshot] = {}


def _phase() -> bool:
    """Whether what was read while the run prepared is too old: a person was asked in between."""
    return bool(state.is_executing and state.check_for_changes)


def current(settings: Settings) -> Snapshot:
    """The host's snapshot; read again once after a confirmation, and after every change."""
    key = (host.name, _phase())
    if key not in _seen:
        request = json.loads(json.dumps(_request(settings)))
        text = programs.stdin_with_siblings("snapshot", request)
        found = host.get_fact(HostSnapshot, _stdin=text)
        _seen[key] = found if found is not None else Snapshot.unreadable()
    return _seen[key]


def forget() -> None:
    """The host is about to change: the next ``current`` reads it again.

    While the run only prepares, nothing changes, and one reading serves all steps.
    """
    if state.is_executing:
        _seen.pop((host.name, _phase()), None)


def _request(settings: Settings) -> dict[str, object]:
    from deploys import (
        arguments,
        base,
        build,
        cache,
        docker,
        driver,
        fabric,
        firewall,
        gateway,
        image,
        metrics,
        model,
        monitoring,
        nfs,
        preflight,
        proxy,
        serve,
        toolkit,
    )

    watch = Watch()
    for step in (
        *(preflight, base, driver, docker, firewall, fabric, toolkit, nfs),
        *(cache, image, build, arguments, proxy, gateway, serve, metrics, monitoring),
    ):
        watch |= step.watch(settings)
    return {
        **{f.name: list(getattr(watch, f.name)) for f in fields(watch)},
        "models": model.requests(settings),
        "serving": serve.request(),
        "fabric": fabric.request(settings),
        "nfs": nfs.request(settings),
        "gateway": gateway.request(settings),
    }
