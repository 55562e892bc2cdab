"""How one host stands against what it is declared to be. Pure."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import layout

from fleet import render
from fleet.difference import differences
from fleet.docker_facts import Container
from fleet.preflight_driver import driver
from fleet.preflight_kernel import kernel
from fleet.settings import Settings
from fleet.snapshot import Snapshot

GOOD_UNIT = ("active", "enabled")


@dataclass(frozen=True)
class Standing:
    """One host. ``since`` is ISO 8601; ``drift`` has a line for all that is not as declared.

    ``running`` and ``waiting`` count requests, ``mem_available_kib`` is what new processes can
    take. None: not known.
    """

    host: str
    drift: list[str] = field(default_factory=list)
    mode: str | None = None
    model: str | None = None
    revision: str | None = None
    image: str | None = None
    release: str | None = None
    previous: str | None = None
    declared: str | None = None
    since: str | None = None
    healthy: bool = False
    completion: str | None = None
    running: int | None = None
    waiting: int | None = None
    tokens_per_s: float | None = None
    mem_available_kib: int | None = None
    driver: str | None = None
    lock: str | None = None
    activation: str | None = None
    log: list[str] = field(default_factory=list)

    @property
    def as_declared(self) -> bool:
        return not self.drift

    @property
    def state(self) -> str:
        """In one word, for the table."""
        if self.as_declared:
            return "ok"
        return "drift" if self.healthy else "down"


def standing(
    settings: Settings, snapshot: Snapshot, told: Mapping[str, Any], wrong: list[str]
) -> Standing:
    """``told`` is what files/status.py said; ``wrong`` are lines about files, image and weights."""
    release, answer = told.get("release") or {}, told.get("answer") or {}
    wanted = render.release(settings)
    drift = [
        *_serving(snapshot, told, wanted.digest),
        *_differences(snapshot, wanted),
        *_containers(snapshot),
        *wrong,
        *_unreadable(told),
        *_platform(settings, snapshot),
        *_unfinished(told.get("activation")),
    ]
    return Standing(
        host=settings.host,
        drift=drift,
        mode=release.get("mode"),
        model=release.get("model"),
        revision=release.get("revision"),
        image=release.get("image"),
        release=release.get("digest"),
        previous=told.get("previous"),
        declared=wanted.digest,
        since=_since(told.get("serving")),
        healthy=bool(answer.get("ok")),
        completion=" ".join(str(answer.get("text") or "").split()) or None,
        running=answer.get("running"),
        waiting=answer.get("waiting"),
        tokens_per_s=answer.get("tokens_per_s"),
        mem_available_kib=(snapshot.host.meminfo or {}).get("MemAvailable"),
        driver=snapshot.driver.loaded,
        lock=_lock(told.get("lock")),
        activation=_activation(told.get("activation")),
        log=list(told.get("log") or []),
    )


def _serving(snapshot: Snapshot, told: Mapping[str, Any], wanted: str) -> list[str]:
    """Unit and completion."""
    unit, answer = snapshot.units.get(layout.UNIT), told.get("answer") or {}
    found = (unit.ActiveState, unit.UnitFileState or "not installed") if unit else ("unknown",) * 2
    lines = []
    if found != GOOD_UNIT:
        lines.append(f"{layout.UNIT}: found {', '.join(found)}, wanted {', '.join(GOOD_UNIT)}")
        if why := (told.get("failure") or {}).get("reason"):
            lines.append(f"last failure: {why}")
    if told.get("release") and not answer.get("ok"):
        errors = told.get("errors") or {}
        why = answer.get("detail") or errors.get("answer") or "no answer"
        lines.append(f"completion: {why}")
    said = (told.get("serving") or {}).get("watchdog") or []
    return lines + [f"watchdog: {line}" for line in said if line.startswith("cannot act")]


def _differences(snapshot: Snapshot, wanted: render.Release) -> list[str]:
    current = snapshot.serving.current
    if current is None:
        return [f"release: found none, wanted {wanted.digest}; run deploy.py"]
    if current == wanted.digest:
        return []
    changes = differences(snapshot.serving.texts, wanted.files)
    return [f"release: found {current}, wanted {wanted.digest}", *changes]


def _containers(snapshot: Snapshot) -> list[str]:
    """Ours runs from the current release, and nobody else's stands in its place."""
    named = [c for c in snapshot.docker.containers if c.name == layout.CONTAINER]
    return [line for container in named if (line := _container(container, snapshot))]


def _container(container: Container, snapshot: Snapshot) -> str:
    release = container.labels.get(layout.RELEASE_LABEL)
    if release is None:
        return f"container {container.name} ({container.image}, {container.state}) is not ours"
    if container.state == "running" and release != snapshot.serving.current:
        return f"container {container.name} runs release {release}, not the current one"
    return ""


def _platform(settings: Settings, snapshot: Snapshot) -> list[str]:
    return [
        f"{finding.name}: found {finding.found}, wanted {finding.wanted}"
        for finding in (*kernel(settings, snapshot), *driver(settings, snapshot))
        if finding.level != "ready"
    ]


def _unreadable(told: Mapping[str, Any]) -> list[str]:
    """What is not known is never as declared; a missing answer is told with the completion."""
    errors = told.get("errors") or {}
    return [f"{n}: {why}" for n, why in errors.items() if n != "answer" or not told.get("release")]


def _unfinished(activation: Mapping[str, Any] | None) -> list[str]:
    if not activation or activation.get("outcome"):
        return []
    return [f"unfinished: {_activation(activation)}"]


def _activation(activation: Mapping[str, Any] | None) -> str | None:
    """The last change of what is served, or the one under way, in one line."""
    if not activation:
        return None
    how = activation.get("outcome") or (
        f"was killed in phase {activation.get('phase')}"
        if activation.get("interrupted")
        else f"in phase {activation.get('phase')} {activation.get('detail') or ''}".rstrip()
    )
    by = f"{activation.get('who')} from {activation.get('origin')}"
    return f"to {activation.get('release')} by {by}, {activation.get('why')}: {how}".replace(
        "revert_failed", "revert failed"
    )


def _lock(lock: Mapping[str, Any] | None) -> str | None:
    if not lock:
        return None
    stale = f" (stale: {lock['stale']})" if lock.get("stale") else ""
    return f"{lock.get('holder')}{stale}"


def _since(serving: Mapping[str, Any] | None) -> str | None:
    since = (serving or {}).get("since")
    if not isinstance(since, int | float):
        return None
    return datetime.datetime.fromtimestamp(since, datetime.UTC).isoformat(timespec="seconds")
