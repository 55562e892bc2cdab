"""What differs between the release a host serves and the one it should serve, for a person. Pure.

Both are given as the texts of their files, by name. Values that look like secrets are not shown.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

import yaml

_SECRET_NAME = re.compile(r"(?i)(token|secret|password|passwd|credential|api_?key|private)")
_SECRET_VALUE = re.compile(r"\b(hf_|sk-|nvapi-|ghp_)[A-Za-z0-9_-]{8,}")
_HIDDEN = "(hidden)"
_PARTS = {  # what of release.json a person should read first, and by which word
    "mode": "mode",
    "model": "model",
    "revision": "model revision",
    "image": "image",
    "served_name": "served name",
    "listen": "listen",
    "port": "port",
    "ready_timeout_s": "ready timeout (s)",
    "drain_timeout_s": "drain timeout (s)",
    "stall_timeout_s": "stall timeout (s)",
    "memory_needed_kib": "memory needed (KiB)",
}
_KEYS = {word: key for key, word in _PARTS.items()}
FIRST = ("mode", "model", "model revision", "image", "served name", "listen", "port")
_TOLD_ABOVE = {"model", "served-model-name", "host", "port"}  # arguments that follow from _PARTS
Texts = Mapping[str, str]


def facts(release: Texts) -> dict[str, Any]:
    """release.json; {} where it is missing or no JSON object."""
    try:
        found = json.loads(release.get("release.json", ""))
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def differences(running: Texts, wanted: Texts) -> list[str]:
    """One line for each thing that would change, "what: before → after"; [] if they are equal."""
    if dict(running) == dict(wanted):
        return []
    before, after = facts(running), facts(wanted)
    if not before:  # each argument of a first release would be a line: the mode's file says them
        return [f"{word}: {_shown(after.get(_KEYS[word]))}" for word in FIRST]
    named = [
        _line(word, before.get(key), after.get(key))
        for key, word in _PARTS.items()
        if before.get(key) != after.get(key)
    ]
    arguments = _changed("argument", _arguments(running), _arguments(wanted))
    environment = _changed("environment", _environment(running), _environment(wanted))
    return [*named, *arguments, *environment] or ["how the container is run (compose.yaml)"]


def _changed(kind: str, before: Mapping[str, object], after: Mapping[str, object]) -> list[str]:
    return [
        _line(f"{kind} {name}", before.get(name), after.get(name))
        for name in sorted(before.keys() | after.keys())
        if before.get(name) != after.get(name)
    ]


def _line(what: str, before: object, after: object) -> str:
    if _SECRET_NAME.search(what):
        before, after = (_HIDDEN if value is not None else None for value in (before, after))
    return f"{what}: {_shown(before)} → {_shown(after)}"


def _shown(value: object) -> str:
    if value is None:
        return "none"
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return _HIDDEN if _SECRET_VALUE.search(text) else " ".join(text.split())


def _arguments(release: Texts) -> dict[str, object]:
    """vllm.yaml; a file that cannot be read counts as empty, so that everything is told."""
    try:
        found = yaml.safe_load(release.get("vllm.yaml", ""))
    except yaml.YAMLError:
        return {}
    known = found if isinstance(found, dict) else {}
    switched = (
        (name[3:], False) if name.startswith("no-") and value is True else (name, value)
        for name, value in known.items()
    )
    return {name: value for name, value in switched if name not in _TOLD_ABOVE}


def _environment(release: Texts) -> dict[str, object]:
    pairs = (line.partition("=") for line in release.get("vllm.env", "").splitlines())
    return {name: value for name, equals, value in pairs if equals}
