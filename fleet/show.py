"""What a mode does with a model, in full: command line, files of the release, memory. Pure."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from typing import Any

from fleet import known_models
from fleet.fit import Fit
from fleet.memory import gib
from fleet.models import ModelLock
from fleet.serving import Serving
from fleet.vllm_config import serve_config

COMMIT = "COMMIT"  # stands for the commit of a model that is not locked


def unlocked(repo: str) -> ModelLock:
    """A stand-in for the lock of a model that has none: what is not known is not invented."""
    facts = known_models.known(repo)
    config = facts.config if facts else {}
    return ModelLock.model_construct(repo=repo, revision=COMMIT, files=(), config=config)


def command_line(serving: Serving) -> str:
    """The ``vllm serve`` line that does the same as the release's config file."""
    config = dict(serve_config(serving))
    words = ["vllm", "serve", config.pop("model")]
    for name, value in config.items():
        words += [f"--{name}", *_words(value)]
    return shlex.join(words)


def _words(value: object) -> list[str]:
    if value is True:
        return []
    if isinstance(value, dict):
        return [json.dumps(value)]
    return [str(item) for item in value] if isinstance(value, list) else [str(value)]


def arithmetic(result: Fit) -> list[tuple[str, str]]:
    """Rows of a table: what takes how much, and what comes of it."""
    rows = [(part, f"{gib(size)} GiB") for part, size in result.parts.items() if size]
    left = (
        f"{gib(result.cache)} GiB" if result.cache > 0 else f"{gib(-result.cache)} GiB too little"
    )
    rows.append(("KV cache", left))
    if result.layout:
        rows.append(("KV cache, one token", f"{result.layout.token_bytes / 1024:.1f} KiB"))
        rows.append((f"sequences of {result.context} tokens", f"{result.concurrent:.1f} at once"))
    return rows


def fit_json(result: Fit) -> Mapping[str, Any]:
    """The arithmetic for programs; sizes in bytes."""
    return {
        "verdict": result.verdict,
        "parts": dict(result.parts),
        "kv_cache": result.cache,
        "context": result.context,
        "concurrent_sequences": round(result.concurrent, 2),
        "hosts_needed": result.hosts_needed,
        "problem": result.problem,
        "remedies": list(result.remedies),
    }
