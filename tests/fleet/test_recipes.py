"""Recipes of sparkrun and eugr become modes; what cannot come along is told, nothing is run."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from fleet import recipes, yamlfile
from fleet.modes import Mode
from fleet.problems import SettingsError

SPARKRUN = r"""
recipe_version: "2"
model: example/Coder-30B-FP8
model_revision: 0123456789abcdef0123456789abcdef01234567
runtime: vllm
container: ghcr.io/example/vllm:latest
metadata: {description: A coder in FP8, maintainer: someone}
mods: [mods/some-fix]
defaults:
  port: 8000
  host: 0.0.0.0
  tensor_parallel: 2
  gpu_memory_utilization: 0.8
  max_model_len: 131072
  drafts: 3
env:
  VLLM_MARLIN_USE_ATOMIC_ADD: 1
command: |
  vllm serve {model} \
    --host {host} --port={port} \
    --max-model-len {max_model_len} \
    --gpu-memory-utilization {gpu_memory_utilization} \
    --speculative-config '{"method": "mtp", "num_speculative_tokens": {drafts}}' \
    --enable-prefix-caching --trust-remote-code \
    --no-such-flag 7 --api-key secret \
    -tp {tensor_parallel}
"""
EUGR = r"""
recipe_version: "1"
name: Coder NVFP4
description: vLLM serving a coder
container: vllm-node
solo_only: true
defaults: {port: 9000, gpu_memory_utilization: 0.95}
command: |
  vllm serve example/Coder-NVFP4 \
     --port {port} --kv_cache_dtype fp8 \
     --compilation-config '{{"cudagraph_mode":"FULL_AND_PIECEWISE"}}' \
     --gpu-memory-utilization {gpu_memory_utilization} \
     --max-num-seqs {seqs} \
     --served-model-name coder --distributed-executor-backend ray
"""


def imported(text: str) -> recipes.Imported:
    found = recipes.read(yaml.safe_load(text), "recipe.yaml")
    yamlfile.validate(Mode, found.mode, "recipe.yaml")
    return found


def test_a_sparkrun_recipe() -> None:
    found = imported(SPARKRUN)
    assert found.mode["purpose"] == "A coder in FP8"
    assert found.mode["memory_fraction"] == 0.8
    assert found.mode["env"] == {"VLLM_MARLIN_USE_ATOMIC_ADD": "1"}
    assert found.mode["args"] == {
        "max-model-len": 131072,
        "enable-prefix-caching": True,
        "trust-remote-code": True,
        "speculative-config": {"method": "mtp", "num_speculative_tokens": 3},
    }
    assert found.settings == {"vllm_model": "example/Coder-30B-FP8", "tensor_parallel": 2}
    assert found.revision == "0123456789abcdef0123456789abcdef01234567"
    told = " ".join(found.left)
    for word in ("no-such-flag", "mods", "container", "host", "api-key"):
        assert word in told
    assert "secret" not in told


def test_an_eugr_recipe() -> None:
    found = imported(EUGR)
    assert found.settings["vllm_model"] == "example/Coder-NVFP4"
    assert found.settings["port"] == 9000
    assert found.settings["served_name"] == "coder"
    assert found.mode["args"] == {
        "kv-cache-dtype": "fp8",
        "compilation-config": {"cudagraph_mode": "FULL_AND_PIECEWISE"},
        "distributed-executor-backend": "ray",
    }
    assert found.mode["memory_fraction"] == 0.8
    told = " ".join(found.left)
    assert "0.95 freezes a GB10" in told
    assert "max-num-seqs: its value is a placeholder without a default" in told


@pytest.mark.parametrize(
    ("names", "kept", "left"),
    [
        (["coder"], "coder", ()),
        (["coder", "gpt-4", "7"], "coder", ("one name here; left out: gpt-4, 7",)),
        (["7"], "7", ()),
        ([], None, ("found True, allowed: a name",)),
    ],
)
def test_one_served_name_comes_along_and_the_others_are_told(
    names: list[str], kept: str | None, left: tuple[str, ...]
) -> None:
    command = " ".join(["vllm serve a/b --served-model-name", *names])
    found = imported(yaml.safe_dump({"model": "a/b", "command": command}))
    assert found.settings.get("served_name") == kept
    assert found.left == tuple(f"--served-model-name: {line}" for line in left)


def test_files_of_their_image_are_told_and_a_template_in_the_line_comes_along() -> None:
    line = "vllm serve a/b --reasoning-parser-plugin p.py --chat-template"
    gone = imported(yaml.safe_dump({"model": "a/b", "command": f"{line} qwen.jinja"}))
    assert gone.mode["args"] == {}
    assert [said.split(":")[0] for said in gone.left] == [
        "--reasoning-parser-plugin",
        "--chat-template",
    ]
    kept = imported(yaml.safe_dump({"model": "a/b", "command": f"{line} '{{{{ messages }}}}'"}))
    assert kept.mode["args"] == {"chat-template": "{ messages }"}


def test_what_a_recipe_says_is_off_is_no_loss() -> None:
    text = "{model: a/b, cluster_only: false, mods: [], pre_exec: null, pull_image: true}"
    assert imported(text).left == ("pull_image: has no counterpart here",)


def test_a_recipe_without_a_command() -> None:
    found = imported("{model: a/b, defaults: {max_model_len: 4096, dtype: bfloat16, typo: 1}}")
    assert found.mode["args"] == {"max-model-len": 4096, "dtype": "bfloat16"}
    assert found.left == ("defaults.typo: is no argument of vLLM",)


def test_a_pinned_image_comes_along() -> None:
    image = f"vllm/vllm-openai@sha256:{'a' * 64}"
    assert imported(f"{{model: a/b, container: '{image}'}}").settings["vllm_image"] == image


@pytest.mark.parametrize(
    "command",
    [
        "vllm serve a/b; rm -rf /",
        "vllm serve a/b && curl x",
        "vllm serve a/b | tee log",
        "vllm serve a/b > /etc/passwd",
        "vllm serve a/b &",
        "vllm serve a/b\nrm -rf /",
        "(vllm serve a/b)",
        "rm -rf /",
        "vllm bench serve",
        "vllm serve 'a/b",
        "",
    ],
)
def test_a_command_that_is_more_than_vllm_serve_is_refused(command: str) -> None:
    if not command:
        assert recipes.read({"model": "a/b", "command": command}, "r").mode["args"] == {}
        return
    with pytest.raises(SettingsError, match=r"command: (found|cannot be read)"):
        recipes.read({"model": "a/b", "command": command}, "r")


def test_nothing_is_expanded() -> None:
    command = "vllm serve a/b --dtype $HOME --port '`id`' --max-num-seqs 8"
    found = recipes.read({"model": "a/b", "command": command}, "r")
    assert found.mode["args"] == {"max-num-seqs": 8}
    assert found.left == (
        "--dtype: its value is for a shell to expand",
        "--port: its value is for a shell to expand",
    )


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("recipe_version", "3"),
        ("runtime", "sglang"),
        ("model", "no repository"),
        ("model", "../../etc/passwd"),
        ("model", "/nfs/models/x"),
        ("defaults", [1]),
        ("env", "X=1"),
        ("command", ["vllm"]),
    ],
)
def test_what_is_no_recipe_for_vllm_is_refused(key: str, value: object) -> None:
    with pytest.raises(SettingsError, match=f"r: {key}: found") as error:
        recipes.read({"model": "a/b", key: value}, "r")
    assert "\n" not in str(error.value)


VALUE = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=30),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner),
    max_leaves=8,
)
KEYS = st.sampled_from(
    ["model", "runtime", "container", "defaults", "env", "command", "mods", "metadata", "name"]
)
PIECES = (
    *("--port", "--max-model-len", "{port}", "8", "-tp", "--", "=", "{", "'", '"', "\\\n", "a/b"),
    *("--enable-prefix-caching", "--no-enable-prefix-caching", "-cc.x=1", "[1]", "NaN", "#", ";"),
)
WORDS = st.lists(st.sampled_from(PIECES) | st.text(max_size=6), max_size=12)


@given(VALUE | st.dictionaries(KEYS, VALUE))
def test_any_text_is_a_recipe_or_refused(raw: Any) -> None:
    check(raw)


@given(WORDS, st.dictionaries(st.sampled_from(["port", "host", "model"]), VALUE))
def test_any_command_is_taken_apart_or_refused(words: list[str], defaults: dict[str, Any]) -> None:
    check({"model": "a/b", "defaults": defaults, "command": "vllm serve " + " ".join(words)})


def check(raw: Any) -> None:
    try:
        found = recipes.read(raw, "r")
    except SettingsError as error:
        assert "\n" not in str(error)
    else:
        assert all("\n" not in line for line in found.left)
        yaml.safe_dump(found.mode)
