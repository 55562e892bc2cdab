"""Reading the model directory as far as a server without a model can: what vLLM would refuse."""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any


class LoadError(Exception):
    """vLLM would end here; the text is its last line."""


def config(model: str) -> dict[str, Any]:
    """The model's config.json."""
    path = Path(model) / "config.json"
    try:
        found = json.loads(path.read_text())
    except FileNotFoundError:
        raise LoadError(
            f"OSError: Repo id must be in the form 'repo_name' or 'namespace/repo_name': '{model}'."
            " Use `repo_type` argument if needed."
        ) from None
    except ValueError:
        raise LoadError(
            f"OSError: It looks like the config file at '{path}' is not JSON."
        ) from None
    if not isinstance(found, dict):
        raise LoadError(f"OSError: It looks like the config file at '{path}' is not JSON.")
    return found


def max_model_len(wanted: int | None, found: dict[str, Any]) -> int:
    """The context length in force, in tokens."""
    derived = int(found.get("max_position_embeddings", 2048))
    if wanted and wanted > derived and os.environ.get("VLLM_ALLOW_LONG_MAX_MODEL_LEN") != "1":
        raise LoadError(
            f"Value error, User-specified max_model_len ({wanted}) is greater than the derived "
            f"max_model_len (max_position_embeddings={derived} or model_max_length=None in model's "
            "config.json). To allow overriding this maximum, set the env var "
            "VLLM_ALLOW_LONG_MAX_MODEL_LEN=1."
        )
    return wanted if wanted and wanted > 0 else derived


def shards(model: str) -> list[Path]:
    """The weight files, all that the index names."""
    folder = Path(model)
    index = folder / "model.safetensors.index.json"
    if not index.exists():
        found = sorted(folder.glob("*.safetensors"))
        if not found:
            raise LoadError(f"RuntimeError: Cannot find any model weights with `{model}`")
        return found
    names = json.loads(index.read_text())["weight_map"]
    missing = sorted(key for key, name in names.items() if not (folder / name).exists())
    if missing:
        raise LoadError(
            f"ValueError: Following weights were not initialized from checkpoint: {set(missing)}"
        )
    return [folder / name for name in sorted(set(names.values()))]


def load(paths: list[Path]) -> Iterator[int]:
    """Check each shard's header against its size; yields how many are done."""
    for done, path in enumerate(paths, 1):
        with path.open("rb") as file:
            head = file.read(8)
            length = struct.unpack("<Q", head)[0] if len(head) == 8 else 1 << 62
            if length > 100_000_000:
                raise LoadError(
                    "safetensors_rust.SafetensorError: Error while deserializing header: "
                    "header too large"
                )
            try:
                table = json.loads(file.read(length))
            except ValueError:
                raise LoadError(
                    "safetensors_rust.SafetensorError: Error while deserializing header: "
                    "invalid JSON in header"
                ) from None
        ends = [row["data_offsets"][1] for key, row in table.items() if key != "__metadata__"]
        if path.stat().st_size != 8 + length + max(ends, default=0):
            raise LoadError(
                "safetensors_rust.SafetensorError: Error while deserializing header: "
                "incomplete metadata, file not fully covered"
            )
        yield done
