"""What the Hub says becomes a lock, or one line that says why not."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from fleet import lock, yamlfile
from fleet.model_config import read_config
from fleet.models import ModelLock
from fleet.problems import SettingsError

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=12), inner),
    max_leaves=12,
)
LLAMA = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "torch_dtype": "bfloat16",
    "hidden_size": 64,
    "vocab_size": 320,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "max_position_embeddings": 2048,
    "initializer_range": 0.02,
}


def blob(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


def answer(**files: bytes) -> dict[str, Any]:
    siblings: list[dict[str, Any]] = [
        {"rfilename": name, "size": len(content), "blobId": blob(content)}
        for name, content in files.items()
    ]
    weights = {"sha256": "a" * 64, "size": 7, "pointerSize": 130}
    siblings.append({"rfilename": "m.safetensors", "size": 7, "blobId": "b" * 40, "lfs": weights})
    return {"sha": "c" * 40, "gated": False, "private": False, "siblings": siblings}


def test_a_listing_becomes_a_stable_lock() -> None:
    config = json.dumps(LLAMA).encode()
    listing = lock.read_listing(answer(config=config), "hub")
    hashes = {"config": lock.checked_sha256(config, listing.files[0], "hub")}
    made = lock.make("org/name", listing, hashes, lock.kept_config(config, None, "hub"))
    text = lock.text(made)
    assert yamlfile.validate(ModelLock, yaml.safe_load(text), "t") == made
    assert lock.text(yamlfile.validate(ModelLock, yaml.safe_load(text), "t")) == text
    assert [file.path for file in made.files] == ["config", "m.safetensors"]
    assert made.files[1].sha256 == "a" * 64
    assert "initializer_range" not in made.config


def test_a_second_lock_shows_what_changed() -> None:
    assert lock.diff("a: 1\nb: 2\n", "a: 1\nb: 3\n", "models/x.yaml").endswith("-b: 2\n+b: 3\n")
    assert lock.diff("a: 1\n", "a: 1\n", "models/x.yaml") == ""


def test_modelopt_says_what_config_json_does_not() -> None:
    theirs = {"quantization": {"quant_algo": "NVFP4", "kv_cache_quant_algo": "FP8", "x": 1}}
    kept = lock.kept_config(json.dumps(LLAMA).encode(), json.dumps(theirs).encode(), "hub")
    quantization = read_config(kept, "t").quantization
    assert quantization is not None
    assert (quantization.method, quantization.algorithm) == ("modelopt", "NVFP4")
    assert quantization.kv_cache == "FP8"


@pytest.mark.parametrize(
    "path", ["../up", "/etc/passwd", "a/../../b", "a\\b", "a//b", "", ".", "a\nb", 7, None]
)
def test_a_path_that_leaves_the_repository_is_refused(path: object) -> None:
    listing = answer()
    listing["siblings"][0]["rfilename"] = path
    with pytest.raises(SettingsError, match="rfilename: found") as error:
        lock.read_listing(listing, "hub")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("key", "value"),
    [("sha", "main"), ("sha", "C" * 40), ("siblings", []), ("siblings", {}), ("siblings", [7])],
)
def test_what_is_not_a_listing_is_refused(key: str, value: object) -> None:
    with pytest.raises(SettingsError, match="allowed"):
        lock.read_listing(answer() | {key: value}, "hub")


@pytest.mark.parametrize("size", [-1, 1 << 60, "7", 7.0, True, None])
def test_a_size_is_bytes(size: object) -> None:
    listing = answer()
    listing["siblings"][0]["lfs"]["size"] = size
    with pytest.raises(SettingsError, match="size: found"):
        lock.read_listing(listing, "hub")


def test_a_small_file_is_the_one_the_commit_names() -> None:
    listed = lock.Listed("config.json", 2, None, blob(b"{}"))
    assert lock.checked_sha256(b"{}", listed, "t") == hashlib.sha256(b"{}").hexdigest()
    with pytest.raises(SettingsError, match="not the file that the commit names"):
        lock.checked_sha256(b"[]", listed, "t")
    with pytest.raises(SettingsError, match="found 3 bytes, listed are 2"):
        lock.checked_sha256(b"{ }", listed, "t")


@given(JSON)
def test_any_answer_is_a_listing_or_refused(raw: object) -> None:
    try:
        lock.read_listing(raw, "hub")
    except SettingsError as error:
        assert len(error.problems) == 1
        assert "\n" not in str(error)


@given(st.dictionaries(st.sampled_from(lock.KEPT), JSON), st.none() | JSON)
def test_any_config_is_facts_or_refused(raw: dict[str, object], modelopt: object) -> None:
    """Values of any type under the very keys that are read."""
    other = None if modelopt is None else json.dumps(modelopt).encode()
    try:
        kept = lock.kept_config(json.dumps(LLAMA | raw).encode(), other, "hub")
    except SettingsError as error:
        assert "\n" not in str(error)
    else:
        read_config(kept, "hub")


@given(st.binary(max_size=200))
def test_any_bytes_are_a_config_or_refused(raw: bytes) -> None:
    with pytest.raises(SettingsError, match=r"^hub: config\.json: "):
        lock.kept_config(raw, None, "hub")
