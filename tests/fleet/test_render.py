"""The release: exact bytes, a digest of them, and nothing that YAML or Compose reads twice."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
import yaml

from fleet import modes
from fleet.catalogue import OURS, Catalogue
from fleet.render import DRAFT, release
from fleet.settings import Settings
from fleet.vllm_config import serve_config
from tests.fleet.examples import load

GOLDEN = Path(__file__).parent / "golden"
PAIRS = {
    "standard": "org/dense-fp8",
    "ultimate": "org/dense-fp8",
    "nvfp4": "org/moe-nvfp4",
    "speculative": "org/dense",
    "deepseek": "org/mla",
    "long-context": "org/dense-nvfp4",
    "lab-standard": "org/tiny",
    "lab-alternative": "org/tiny",
    "lab-speculative": "org/dense",
}


def whole(files: Catalogue, mode: str, model: str, **data: Any) -> str:
    """All texts of a release as one, for comparison."""
    rendered = release(load(files, vllm_mode=mode, vllm_model=model, **data)).files
    return "".join(f"=== {name}\n{text}" for name, text in sorted(rendered.items()))


def test_every_mode_has_a_golden_release() -> None:
    assert sorted(PAIRS) == modes.names()


@pytest.mark.parametrize("mode", sorted(PAIRS))
def test_the_release_is_as_the_golden_file_says(files: Catalogue, mode: str) -> None:
    """After a change that is meant: UPDATE_GOLDEN=1 pytest tests/fleet, and read the diff."""
    found, golden = whole(files, mode, PAIRS[mode]), GOLDEN / f"{mode}.txt"
    if os.environ.get("UPDATE_GOLDEN"):
        golden.write_text(found)
    assert found == golden.read_text()


def test_the_digest_names_what_is_in_the_release(files: Catalogue) -> None:
    one = release(load(files))
    assert one == release(load(files))
    assert len(one.digest) == 12
    assert one.digest != DRAFT
    for name in ("compose.yaml", "release.json"):
        assert one.digest in one.files[name]


@pytest.mark.parametrize(
    "data",
    [
        {"port": 8001},
        {"served_name": "other"},
        {"memory_fraction": 0.7},
        {"memory_floor_gib": 7.0},
        {"vllm_env": {"A": "b"}},
        {"vllm_args": {"max-num-seqs": 3}},
        {"vllm_image": "other@sha256:" + "d" * 64},
        {"models_dir": "/data"},
        {"vllm_model": "org/dense-fp8"},
    ],
    ids=str,
)
def test_whatever_changes_the_server_changes_the_digest(
    files: Catalogue, data: dict[str, Any]
) -> None:
    assert release(load(files, **data)).digest != release(load(files)).digest


@pytest.mark.parametrize("data", [{"wave_size": 3}, {"keep_releases": 5}, {"allow_reboot": True}])
def test_whatever_does_not_change_the_server_keeps_the_digest(
    files: Catalogue, data: dict[str, Any]
) -> None:
    assert release(load(files, **data)).digest == release(load(files)).digest


def test_a_switch_that_is_off_is_written_as_vllm_reads_it(files: Catalogue) -> None:
    for written in ({"enable-prefix-caching": False}, {"no-enable-prefix-caching": True}):
        config = serve_config(load(files, vllm_args=written))
        assert config["no-enable-prefix-caching"] is True
        assert "enable-prefix-caching" not in config
    assert False not in config.values()


def test_null_takes_an_argument_of_the_mode_out(files: Catalogue) -> None:
    config = serve_config(load(files, vllm_args={"load-format": None}))
    assert "load-format" not in config


def test_a_short_model_gets_its_own_context(files: Catalogue) -> None:
    assert serve_config(load(files, vllm_model="org/short"))["max-model-len"] == 8192


def test_a_model_with_mla_gets_no_kernel_of_ordinary_attention(files: Catalogue) -> None:
    assert "attention-backend" not in serve_config(load(files, vllm_model="org/mla"))
    assert serve_config(load(files))["attention-backend"] == "FLASHINFER"


def test_the_marlin_kernel_is_for_experts_only(files: Catalogue) -> None:
    dense = serve_config(load(files, vllm_mode="nvfp4", vllm_model="org/dense-nvfp4"))
    experts = serve_config(load(files, vllm_mode="nvfp4", vllm_model="org/moe-nvfp4"))
    assert "moe-backend" not in dense
    assert experts["moe-backend"] == "marlin"


def test_the_draft_is_read_from_the_cache_at_its_commit(files: Catalogue) -> None:
    config = serve_config(load(files, vllm_mode="speculative"))["speculative-config"]
    commit = "a" * 40
    assert config == {
        "method": "eagle3",
        "model": f"/models/hub/models--org--draft/snapshots/{commit}",
        "num_speculative_tokens": 3,
    }


def needed_kib(settings: Settings) -> int:
    """MemAvailable that a start of the release waits for."""
    return int(json.loads(release(settings).files["release.json"])["memory_needed_kib"])


def test_a_start_needs_what_vllm_takes_and_the_floor(files: Catalogue) -> None:
    assert needed_kib(load(files, memory_floor_gib=4.0)) == round((0.8 * 119.7 + 4) * 2**20)


def test_a_cache_of_given_size_decides_what_a_start_needs(files: Catalogue) -> None:
    """With a fraction beside it or without; the weights of org/moe-nvfp4 are 16 GiB."""
    args = {"kv-cache-memory-bytes": "60G"}
    beside = load(files, vllm_mode="nvfp4", vllm_model="org/moe-nvfp4", vllm_args=args)
    mode = beside.mode.model_copy(update={"memory_fraction": None})
    alone = beside.model_copy(update={"mode": mode})
    assert needed_kib(alone) == needed_kib(beside) > (60 + 16 + 4 + 8) * 2**20


def test_where_the_weights_are_not_known_a_start_needs_what_its_fraction_says(
    files: Catalogue,
) -> None:
    settings = load(files, vllm_args={"kv-cache-memory-bytes": "8G"})
    lock = settings.model.model_copy(update={"files": settings.model.files[:1]})
    unknown = settings.model_copy(update={"model": lock})
    assert needed_kib(unknown) == round((0.8 * 119.7 + 8) * 2**20)


def test_a_lab_host_has_room_for_a_lab_mode() -> None:
    """Its memory is that of the machine, 8 GB of a small one."""
    data = {"vllm_model": "lab/tiny", "vllm_mode": "lab-alternative", "memory_floor_gib": 0.25}
    assert 0 < needed_kib(load(OURS, **data)) < 5 * 2**20


NASTY = [
    "$HOME ${X} $$",
    "a: b # c",
    "'\"\\",
    "é 日本 😀",
    "{{ x }}",
    "- x",
    "yes",
    "1e3",
    "~",
    "%",
]


@pytest.mark.parametrize("text", NASTY)
def test_any_text_arrives_as_it_was_written(files: Catalogue, text: str) -> None:
    arg = text.lstrip("-").strip()
    rendered = release(load(files, vllm_env={"A": text}, vllm_args={"chat-template": arg})).files
    compose = yaml.safe_load(rendered["compose.yaml"])
    assert compose["services"]["vllm"]["environment"]["A"].replace("$$", "$") == text
    assert f"\nA={text}\n" in "\n" + rendered["vllm.env"]
    assert yaml.safe_load(rendered["vllm.yaml"])["chat-template"] == arg
