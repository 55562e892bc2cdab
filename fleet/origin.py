"""Where a person wrote what vLLM complains about."""

from __future__ import annotations

import re
from collections.abc import Iterable

from fleet.serving import Serving, Where


def of_problem(settings: Serving, problem: str, where: Where) -> str:
    """``FILE: key`` of the argument or variable that ``problem`` names; else where all of them are.

    ``where(key)`` names the file a key of the settings came from.
    """
    mode = f"modes/{settings.vllm_mode}.yaml"
    for place, key, names in (
        (where("vllm_args"), "vllm_args", settings.vllm_args),
        (where("vllm_env"), "vllm_env", settings.vllm_env),
        (mode, "args", (*settings.mode.args, *settings.mode.moe_args)),
        (mode, "env", settings.mode.env),
    ):
        if name := _named(problem, names):
            return f"{place}: {key}.{name}"
    return f"{mode}, vllm_args or vllm_env"


def _named(problem: str, names: Iterable[str]) -> str:
    """The longest of ``names`` that stands in the text as a word."""
    found = [n for n in names if re.search(rf"(?<![\w]){re.escape(n)}(?![\w-])", problem)]
    return max(found, key=len, default="")
