"""daemon.json: ours joined with what the host has. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from fleet.docker_facts import Container, Docker
from fleet.host import HostSettings

LIVE_RESTORE = "live-restore"
# What CDI devices need. `nvidia-ctk runtime configure --cdi.enabled` would replace all features.
REQUIRED: Mapping[str, Any] = {"features": {"cdi": True}}
# Ours only where the host has made no choice of its own.
PREFERRED: Mapping[str, Any] = {
    "log-driver": "local",  # bounded; json-file grows without end
    LIVE_RESTORE: True,  # containers outlive a restart of the daemon
}
OURS = "vllm-fleet."  # each container of ours has a label that begins so
NOTHING: Mapping[str, list[str]] = {}


def merged(
    text: str | None, settings: HostSettings, more: Mapping[str, list[str]] = NOTHING
) -> dict[str, Any]:
    """The host's own keys kept, ours joined in, ``more`` added to the lists of that name.

    ``text`` must be a JSON object, empty or None.
    """
    found: dict[str, Any] = json.loads(text) if text else {}
    wanted = join(join({**PREFERRED, **found}, REQUIRED), settings.docker_daemon)
    return {**wanted, **_added(wanted, more)}


def _added(below: Mapping[str, Any], more: Mapping[str, list[str]]) -> dict[str, list[str]]:
    """The lists of ``below`` with what they lack; the entries of others stay."""
    return {key: [*dict.fromkeys([*below.get(key, []), *new])] for key, new in more.items()}


def join(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Deep: objects are joined key by key, anything else is taken from ``above``."""
    result = dict(below)
    for key, value in above.items():
        old = result.get(key)
        both = isinstance(old, Mapping) and isinstance(value, Mapping)
        result[key] = join(old, value) if both else value  # type: ignore[arg-type]
    return result


def changed(
    text: str | None, settings: HostSettings, more: Mapping[str, list[str]] = NOTHING
) -> str | None:
    """The text to write, or None when daemon.json already says the same."""
    wanted = merged(text, settings, more)
    if text and json.loads(text) == wanted:
        return None
    return json.dumps(wanted, indent=2, sort_keys=True) + "\n"


def outlives(text: str | None) -> bool:
    """Whether daemon.json asks that containers run on while the daemon does not."""
    return json.loads(text or "{}").get(LIVE_RESTORE) is True


def ended(docker: Docker, text: str | None) -> str:
    """What forbids a restart with daemon.json as ``text``: it would end containers of others."""
    foreign = [one.name for one in docker.containers if _foreign(one)]
    if not foreign or outlives(text):
        return ""
    return (
        f"docker: found {LIVE_RESTORE} off and {', '.join(foreign)} running, which the restart "
        f"for daemon.json would end; allowed: {LIVE_RESTORE} on, or no running container of "
        f"others; take {LIVE_RESTORE} out of docker_daemon and the host's daemon.json, or stop them"
    )


def _foreign(container: Container) -> bool:
    """It runs, and is none of ours."""
    ours = any(key.startswith(OURS) for key in container.labels)
    return container.state in ("running", "paused") and not ours
