"""Mode, model and overrides joined to the arguments and environment vLLM gets."""

from __future__ import annotations

import re
from typing import Any

from fleet.flags import SWITCHES
from fleet.model_config import ModelConfig
from fleet.modes import Mode
from fleet.serve import ServeSettings

_SUFFIX = {"k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12}
_SUFFIX |= {"K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}


def arguments(settings: ServeSettings, mode: Mode, config: ModelConfig | None) -> dict[str, Any]:
    """vLLM arguments by long name; a switch turned off is ``x: False``, however it was written."""
    joined = _positive(_of_mode(mode, config))
    for name, value in _positive(settings.vllm_args).items():
        joined.pop(name, None)
        if value is not None:
            joined[name] = value
    return joined


def _of_mode(mode: Mode, config: ModelConfig | None) -> dict[str, Any]:
    """The mode's arguments as far as they can be the model's.

    A shorter context is the model's own, and a kernel for ordinary attention is left out for a
    model with latent attention, for which vLLM chooses.
    """
    args = {**mode.args, **(mode.moe_args if config and config.experts else {})}
    wish, context = whole_number(args.get("max-model-len")), config and config.context
    if wish and context and wish > context:
        args["max-model-len"] = context
    if config and config.latent and "MLA" not in str(args.get("attention-backend")).upper():
        args.pop("attention-backend", None)
    return args


def environment(settings: ServeSettings, mode: Mode) -> dict[str, str]:
    """The environment of the mode with the overrides of the settings."""
    joined: dict[str, str | None] = {**mode.env, **settings.vllm_env}
    return {name: value for name, value in joined.items() if value is not None}


def _positive(args: dict[str, Any]) -> dict[str, Any]:
    """``no-x: true`` as ``x: False``, so that one override meets the other."""
    joined: dict[str, Any] = {}
    for name, value in args.items():
        if _negative(name):
            joined[name[3:]] = None if value is None else not value
        else:
            joined[name] = value
    return joined


def _negative(name: str) -> bool:
    return name.startswith("no-") and name[3:] in SWITCHES


def whole_number(value: object) -> int | None:
    """A count as vLLM reads it (``131072``, ``128K``, ``131k``), or None if it is none."""
    if isinstance(value, bool):
        return None
    if isinstance(value, int):
        return value if value > 0 else None
    match = re.fullmatch(r"(\d{1,15})([kmgtKMGT]?)", value) if isinstance(value, str) else None
    return int(match[1]) * _SUFFIX.get(match[2], 1) if match else None
