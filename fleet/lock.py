"""Locks of models: from what the Hub answers to ``models/<org>--<name>.yaml``. Pure parsing.

Everything the Hub says is text from outside: sizes, types, paths and hashes are checked.
"""

from __future__ import annotations

import difflib
import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import yaml

from fleet import yamlfile
from fleet.model_config import MODELOPT, UNEVEN, read_config
from fleet.models import ModelLock, file_path
from fleet.problems import SettingsError, shown
from fleet.untrusted import mapping

CONFIG, MODELOPT_FILE = "config.json", "hf_quant_config.json"
MOST_FILES = 20_000
SMALL = 64 << 20  # bytes; the Hub wants larger files in LFS, which come with their sha256
_HEX = re.compile(r"[0-9a-f]+")

# What decides memory, kernels and kinds of layers; everything else in config.json is left out.
KEPT = (
    *("architectures", "model_type", "dtype", "torch_dtype", "max_position_embeddings"),
    *("hidden_size", "intermediate_size", "vocab_size", "tie_word_embeddings"),
    *("num_hidden_layers", "num_attention_heads", "num_key_value_heads", "head_dim"),
    *("kv_lora_rank", "q_lora_rank", "qk_rope_head_dim", "qk_nope_head_dim", "v_head_dim"),
    *("index_head_dim", "num_experts", "n_routed_experts", "num_local_experts"),
    *("num_experts_per_tok", "moe_intermediate_size", "n_shared_experts"),
    *("shared_expert_intermediate_size", "first_k_dense_replace"),
    *("layer_types", "layers_block_type", "hybrid_override_pattern", "full_attention_interval"),
    *("sliding_window", "sliding_window_pattern", "use_sliding_window"),
    *("linear_num_key_heads", "linear_num_value_heads", "linear_key_head_dim"),
    *("linear_value_head_dim", "linear_conv_kernel_dim", "mamba_ssm_dtype"),
    *("mamba_num_heads", "mamba_head_dim", "n_groups", "ssm_state_size", "conv_kernel"),
    *("mamba_ssm_cache_dtype", "num_nextn_predict_layers", "mtp_num_hidden_layers"),
    *("draft_vocab_size", "auto_map", *UNEVEN),
)
_QUANTIZATION_KEPT = (
    *("quant_method", "quant_algo", "format", "fmt", "weight_block_size", "kv_cache_scheme"),
    *("bits", "group_size", "activation_scheme", "kv_cache_quant_algo"),
)


@dataclass(frozen=True)
class Listed:
    """A file as the Hub lists it: bytes, sha256 if it is in LFS, else git's sha1 of the blob."""

    path: str
    size: int
    sha256: str | None
    blob: str


@dataclass(frozen=True)
class Listing:
    """A repository at one commit."""

    commit: str
    files: tuple[Listed, ...]
    gated: bool
    private: bool


def read_listing(answer: object, place: str) -> Listing:
    """The answer of ``/api/models/ORG/NAME/revision/REV?blobs=true``."""
    info = mapping(answer, place)
    files = info.get("siblings")
    if not isinstance(files, list) or not 1 <= len(files) <= MOST_FILES:
        raise SettingsError(f"{place}: siblings: allowed: a list of 1 to {MOST_FILES} files")
    return Listing(
        commit=_hex(info.get("sha"), 40, f"{place}: sha"),
        files=tuple(_listed(file, place) for file in files),
        gated=info.get("gated") not in (False, None),
        private=info.get("private") is True,
    )


def _listed(raw: object, place: str) -> Listed:
    file = mapping(raw, f"{place}: siblings")
    path = _path(file.get("rfilename"), place)
    where = f"{place}: {shown(path)}"
    lfs = file.get("lfs")
    stored = mapping(lfs, f"{where}: lfs") if lfs is not None else None
    return Listed(
        path=path,
        size=_size((stored or file).get("size"), where),
        sha256=_hex(stored.get("sha256"), 64, f"{where}: sha256") if stored else None,
        blob=_hex(file.get("blobId"), 40, f"{where}: blobId"),
    )


def _path(value: object, place: str) -> str:
    try:
        return file_path(value if isinstance(value, str) else "")
    except ValueError as error:
        raise SettingsError(f"{place}: rfilename: found {shown(value)}, {error}") from None


def _size(value: object, where: str) -> int:
    if type(value) is not int or not 0 <= value < 1 << 50:
        raise SettingsError(f"{where}: size: found {shown(value)}, allowed: bytes, less than 1 PiB")
    return value


def _hex(value: object, digits: int, where: str) -> str:
    if not isinstance(value, str) or len(value) != digits or not _HEX.fullmatch(value):
        raise SettingsError(f"{where}: found {shown(value)}, allowed: {digits} hexadecimal digits")
    return value


def checked_sha256(content: bytes, listed: Listed, place: str) -> str:
    """sha256 of a small file; SettingsError if it is not the blob that the commit names."""
    if len(content) != listed.size:
        raise SettingsError(
            f"{place}: {shown(listed.path)}: found {len(content)} bytes, listed are {listed.size}"
        )
    blob = hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()
    if blob != listed.blob:
        raise SettingsError(f"{place}: {shown(listed.path)}: not the file that the commit names")
    return hashlib.sha256(content).hexdigest()


def kept_config(config: bytes, modelopt: bytes | None, place: str) -> dict[str, Any]:
    """The parts of config.json that a lock keeps, as they are; checked by reading them."""
    raw = _json_object(config, f"{place}: {CONFIG}")
    kept = _kept(raw)
    if isinstance(raw.get("text_config"), dict):
        kept["text_config"] = _kept(raw["text_config"])
    if modelopt is not None:
        theirs = _json_object(modelopt, f"{place}: {MODELOPT_FILE}").get("quantization")
        chosen = _chosen(theirs, _QUANTIZATION_KEPT) if isinstance(theirs, dict) else {}
        kept[MODELOPT] = {"quantization": chosen}
    read_config(kept, f"{place}: {CONFIG}")
    return kept


def _kept(raw: Mapping[str, Any]) -> dict[str, Any]:
    kept = _chosen(raw, KEPT)
    quantization = raw.get("quantization_config")
    if isinstance(quantization, dict):
        kept["quantization_config"] = _chosen(quantization, _QUANTIZATION_KEPT)
    return kept


def _chosen(raw: Mapping[str, Any], keys: tuple[str, ...]) -> dict[str, Any]:
    return {key: raw[key] for key in keys if raw.get(key) is not None}


def _json_object(content: bytes, place: str) -> dict[str, Any]:
    try:
        parsed = json.loads(content)
    except (ValueError, RecursionError):
        raise SettingsError(f"{place}: not usable JSON") from None
    return mapping(parsed, place)


def make(
    repo: str, listing: Listing, hashes: Mapping[str, str], config: dict[str, Any]
) -> ModelLock:
    """The lock; ``hashes`` has the sha256 of the files that are not in LFS, by path."""
    files = [
        {"path": file.path, "size": file.size, "sha256": file.sha256 or hashes[file.path]}
        for file in sorted(listing.files, key=lambda file: file.path)
    ]
    raw = {"repo": repo, "revision": listing.commit, "files": files, "config": config}
    return yamlfile.validate(ModelLock, raw, f"the Hub's {repo}")


def text(lock: ModelLock) -> str:
    """The lock as YAML: the same facts always give the same bytes."""
    head = f"# Written by: fleet lock {lock.repo}\n"
    values = lock.model_dump(mode="json", exclude_none=True)
    return head + yaml.safe_dump(values, sort_keys=True, allow_unicode=False, width=4096)


def diff(old: str, new: str, name: str) -> str:
    """What changes from ``old`` to ``new``, as a unified diff; empty if nothing does."""
    lines = difflib.unified_diff(
        old.splitlines(), new.splitlines(), name, name, "old", "new", 2, ""
    )
    return "".join(f"{line}\n" for line in lines)


def recorded(evidence: object, repo: str, place: str) -> tuple[str, dict[str, str]]:
    """Revision and greedy answers in the evidence of one host that was proved, or SettingsError."""
    found = mapping(evidence, place)
    server = mapping(found.get("server"), f"{place}: server")
    answers = mapping(server.get("golden"), f"{place}: server: golden")
    if found.get("model") != repo or found.get("proved") is not True:
        raise SettingsError(
            f"{place}: found model {shown(found.get('model'))}, "
            f"proved {shown(found.get('proved'))}, allowed: a host that was proved with {repo}"
        )
    revision = _hex(server.get("revision"), 40, f"{place}: server: revision")
    if not answers or not all(isinstance(each, str) for each in answers.values()):
        raise SettingsError(f"{place}: server: golden: allowed: an answer for each prompt")
    return revision, {str(prompt): str(answer) for prompt, answer in answers.items()}
