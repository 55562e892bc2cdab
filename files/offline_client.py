"""Runs `vllm bench` offline with the arguments of a release. Runs inside the serving image.

    docker compose run --entrypoint python3 vllm -

with this source and ``main({...})`` on stdin: {"bench": throughput or latency, "words": its own,
"config": text of vllm.yaml}. Of the release's arguments those are given that the benchmark knows:
what is only the HTTP server's is left out.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import sys
from collections.abc import Collection
from typing import Any

FLEXIBLE = ("vllm.utils.argparse_utils", "vllm.utils")


def main(request: dict[str, Any]) -> None:
    """Becomes ``vllm bench``; ends with one line where the image has none."""
    try:
        known = options(request["bench"])
    except ImportError as error:
        sys.exit(f"the image has no vLLM with an offline benchmark: {error}")
    words = arguments(request["config"], known)
    os.execvp("vllm", ["vllm", "bench", request["bench"], *words, *request["words"]])


def options(bench: str) -> Collection[str]:
    """Every option that the benchmark takes."""
    module = importlib.import_module(f"vllm.benchmarks.{bench}")
    parser = first(FLEXIBLE, "FlexibleArgumentParser")()
    module.add_cli_args(parser)
    found: Collection[str] = parser._option_string_actions  # argparse shows them nowhere else
    return found


def first(modules: tuple[str, ...], name: str) -> Any:
    """``name`` of the first module that has it."""
    for module in modules:
        with contextlib.suppress(ImportError):
            if found := getattr(importlib.import_module(module), name, None):
                return found
    raise ImportError(f"no {name} in {', '.join(modules)}")


def arguments(config: str, known: Collection[str]) -> list[str]:
    """Lines of name and value, both JSON, as words of a command line; a switch has no value."""
    words: list[str] = []
    for line in config.splitlines():
        if line.startswith("#") or not line.strip():
            continue
        [(name, value)] = json.loads(f"{{{line}}}").items()
        if f"--{name}" not in known:
            continue
        words.append(f"--{name}")
        if isinstance(value, list):
            words += map(str, value)
        elif value is not True:
            words.append(json.dumps(value) if isinstance(value, dict) else str(value))
    return words
