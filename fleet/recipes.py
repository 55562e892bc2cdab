"""Recipes of others, sparkrun's (version 2) and eugr's (version 1), as a mode of ours. Pure.

A recipe is untrusted text. What has no place in a mode is told, line by line, so that nobody
believes it still works.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fleet.flags import KNOWN, OWNED
from fleet.models import repo_name
from fleet.problems import SettingsError, shown
from fleet.recipe_command import Recipe, fill, plain, taken_apart, typed, words

_FROM_DEFAULTS = {"tensor_parallel": "tensor-parallel-size"}
_FROM_DEFAULTS |= {"pipeline_parallel": "pipeline-parallel-size"}
_FROM_DEFAULTS |= {"data_parallel": "data-parallel-size"}
_IGNORED = {"recipe_version", "name", "description", "metadata", "defaults", "env", "command"}
_IGNORED |= {"model", "model_revision", "runtime", "container", "min_nodes", "solo_only"}
_WHY = {
    "mods": "patches of the image; build an image that has them and pin it as vllm_image",
    "build_args": "how their image is built; pin a built one as vllm_image",
    "containers": "images by host; set vllm_image in group_data/ for those hosts",
    "pre_exec": "commands before the start",
    "post_exec": "commands after the start",
    "post_commands": "commands after the start",
    "benchmark": "see benchmark.py",
    "cluster_only": "a replica of several hosts is set up in the inventory",
    "max_nodes": "a replica of several hosts is set up in the inventory",
}
_NOTHING: tuple[object, ...] = (None, False, "", [], {})
_VLLM = {"", "vllm", "vllm-ray", "vllm-distributed", "eugr-vllm"}


@dataclass(frozen=True)
class Imported:
    """A mode's values, the settings that go with it, and what was left behind, a line each."""

    mode: dict[str, Any]
    settings: dict[str, Any]
    revision: str | None
    left: tuple[str, ...]


def read(raw: object, place: str) -> Imported:
    """The recipe ``raw`` (parsed YAML) as ours; SettingsError where it is none of the two kinds."""
    if not isinstance(raw, dict):
        raise SettingsError(f"{place}: found {shown(raw)}, allowed: a recipe, a mapping")
    recipe = Recipe(raw, place)
    _version(recipe)
    args = _arguments(recipe)
    model = _model(recipe, args)
    env = _environment(recipe)
    settings = {"vllm_model": model, **_settings(recipe, args)}
    mode = _mode(recipe, args, env)
    for key, value in raw.items():
        if key not in _IGNORED and value not in _NOTHING:
            recipe.drop(plain(key), _WHY.get(str(key), "has no counterpart here"))
    revision = recipe.text("model_revision") or None
    return Imported(mode, settings, revision, tuple(recipe.left))


def _version(recipe: Recipe) -> None:
    version = str(recipe.values.get("recipe_version", "2"))
    if version not in ("1", "2"):
        raise SettingsError(
            f"{recipe.place}: recipe_version: found {shown(version)}, allowed: 1 or 2"
        )
    runtime = recipe.text("runtime")
    if runtime not in _VLLM:
        raise SettingsError(
            f"{recipe.place}: runtime: found {shown(runtime)}, allowed: vLLM's, "
            f"{', '.join(sorted(_VLLM - {''}))}"
        )


def _arguments(recipe: Recipe) -> dict[str, Any]:
    """vLLM arguments by long name, of the command or, without one, of the defaults."""
    defaults = recipe.mapping("defaults")
    command = recipe.text("command")
    if not command:
        return dict(_named(recipe, defaults))
    filled = fill(command, {**defaults, "model": recipe.text("model")})
    return taken_apart(recipe, words(recipe, filled))


def _named(recipe: Recipe, defaults: Mapping[str, Any]) -> list[tuple[str, Any]]:
    named = []
    for key, value in defaults.items():
        name = _FROM_DEFAULTS.get(key, key.replace("_", "-"))
        if name in KNOWN:
            named.append((name, typed(value) if isinstance(value, str) else value))
        else:
            recipe.drop(f"defaults.{plain(key)}", "is no argument of vLLM")
    return named


def _model(recipe: Recipe, args: dict[str, Any]) -> str:
    of_command = args.pop("model", None)
    found = recipe.text("model") or (of_command if isinstance(of_command, str) else "")
    try:
        return repo_name(found)
    except ValueError as error:
        raise SettingsError(f"{recipe.place}: model: found {shown(found)}, {error}") from None


def _environment(recipe: Recipe) -> dict[str, str]:
    env: dict[str, str] = {}
    for name, value in recipe.mapping("env").items():
        if isinstance(value, str | int | float) and not isinstance(value, bool):
            env[name] = str(value)
        else:
            recipe.drop(f"env.{plain(name)}", "is no text or number")
    return env


_PARALLEL = {
    "tensor-parallel-size": "tensor_parallel",
    "pipeline-parallel-size": "pipeline_parallel",
    "data-parallel-size": "data_parallel",
}


def _settings(recipe: Recipe, args: dict[str, Any]) -> dict[str, Any]:
    """What is a setting of the fleet here and an argument there."""
    settings: dict[str, Any] = {}
    for name, key in {**_PARALLEL, "port": "port"}.items():
        value = args.pop(name, None)
        if isinstance(value, int | str) and value not in (1, 8000):
            settings[key] = value
    if served := _served_name(recipe, args.pop("served-model-name", None)):
        settings["served_name"] = served
    container = recipe.text("container")
    if re.fullmatch(r"\S+@sha256:[0-9a-f]{64}", container):
        settings["vllm_image"] = container
    elif container:
        recipe.drop("container", f"{shown(container)} is not pinned; fleet lock image pins a tag")
    if args.pop("host", None) not in (None, "127.0.0.1"):
        recipe.drop("host", "the API listens on loopback here unless the setting listen says more")
    return settings


def _served_name(recipe: Recipe, found: object) -> str | None:
    """The first name, which is the one that vLLM answers with."""
    names = found if isinstance(found, list) else [] if found is None else [found]
    texts = [str(name) for name in names if type(name) in (int, str)]
    if len(texts) < len(names):
        recipe.drop("--served-model-name", f"found {shown(found)}, allowed: a name")
    if texts[1:]:
        recipe.drop(
            "--served-model-name", f"one name here; left out: {plain(', '.join(texts[1:]))}"
        )
    return texts[0] if texts else None


def _mode(recipe: Recipe, args: dict[str, Any], env: dict[str, str]) -> dict[str, Any]:
    fraction = args.pop("gpu-memory-utilization", None)
    for name in [name for name in args if name in OWNED]:
        args.pop(name)
        recipe.drop(f"--{name}", OWNED[name])
    metadata = recipe.values.get("metadata")
    said = metadata.get("description") if isinstance(metadata, dict) else None
    purpose = recipe.values.get("description") or said or recipe.values.get("name") or "Imported"
    mode: dict[str, Any] = {"purpose": plain(purpose), "args": args}
    if env:
        mode["env"] = env
    if isinstance(fraction, int | float) and 0 < fraction <= 0.90:
        mode["memory_fraction"] = float(fraction)
    elif "kv-cache-memory-bytes" not in args:
        mode["memory_fraction"] = 0.8
        if fraction is not None:
            recipe.drop(
                "--gpu-memory-utilization", f"{shown(fraction)} freezes a GB10; 0.8 instead"
            )
    return mode | {"ready_timeout_s": 1800, "drain_timeout_s": 60, "stall_timeout_s": 300}
