"""Every mode a person can choose is whole and says only what is true."""

from __future__ import annotations

from pathlib import Path

import pytest

from fleet import modes
from fleet.arguments import argument_name
from fleet.flags import GONE, KNOWN, OWNED
from fleet.problems import SettingsError

REAL = [name for name in modes.names() if not name.startswith("lab-")]


def test_the_modes_of_the_original_kit_are_there() -> None:
    assert {"standard", "ultimate", "nvfp4", "speculative", "deepseek", "long-context"} <= set(REAL)


@pytest.mark.parametrize("name", modes.names())
def test_a_mode_uses_only_names_vllm_knows(name: str) -> None:
    mode = modes.load(name)
    assert {*mode.args, *mode.moe_args} <= KNOWN


@pytest.mark.parametrize("name", REAL)
def test_a_mode_leaves_the_system_some_memory_and_gives_no_quantization(name: str) -> None:
    mode = modes.load(name)
    assert mode.memory_fraction is not None
    assert mode.memory_fraction <= 0.85
    assert "quantization" not in mode.args


@pytest.mark.parametrize("name", REAL)
def test_the_numbers_of_a_mode_have_their_source_beside_them(name: str) -> None:
    text = (modes.MODES / f"{name}.yaml").read_text()
    assert text.startswith("#")
    assert "Source" in text


def test_the_deepseek_mode_leaves_the_kernel_to_vllm() -> None:
    assert not {name for name in modes.load("deepseek").args if "attention" in name}


def test_no_argument_is_both_gone_and_known() -> None:
    assert not GONE.keys() & KNOWN
    assert not GONE.keys() & OWNED.keys()


def test_every_argument_of_vllm_may_be_written() -> None:
    for name in KNOWN - OWNED.keys():
        assert argument_name(name) == name


GOOD = (modes.MODES / "standard.yaml").read_text()


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("purpose:", "porpuse:", "purpose: missing, wanted: What the mode is for, in one line"),
        ("memory_fraction: 0.8", "memory_fraction: 0.8\nmemory_frction: 1", "memory_frction: unkn"),
        ("memory_fraction: 0.8", "memory_fraction: 0.95", "memory_fraction: found 0.95, allowed: "),
        (
            "ready_timeout_s: 1800",
            "ready_timeout_s: soon",
            "ready_timeout_s: found 'soon', allowed",
        ),
        (
            "ready_timeout_s: 1800",
            "ready_timeout_s: 0",
            "ready_timeout_s: found 0, allowed: 1 or m",
        ),
        ("max-num-seqs: 16", "max-num-seqs:", "args.max-num-seqs: found None, allowed: a value; "),
        ("max-num-seqs: 16", "max-num-seqs: .nan", "args.max-num-seqs: found nan, allowed: a fin"),
        (
            'VLLM_USE_DEEP_GEMM: "0"',
            "VLLM_USE_DEEP_GEMM: 0",
            "env.VLLM_USE_DEEP_GEMM: found 0, all",
        ),
        (
            "suits: [",
            "needs: [speed]\nsuits: [",
            "needs[0]: found 'speed', allowed: 'fp8', 'nvfp4'",
        ),
    ],
)
def test_a_mistake_in_a_mode_names_the_file_and_the_key(
    tmp_path: Path, old: str, new: str, problem: str
) -> None:
    assert old in GOOD
    (tmp_path / "mine.yaml").write_text(GOOD.replace(old, new))
    with pytest.raises(SettingsError) as caught:
        modes.load("mine", tmp_path)
    assert any(line.startswith(f"modes/mine.yaml: {problem}") for line in caught.value.problems)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("purpose: [", "modes/mine.yaml:1: not usable YAML: "),
        ("a: 1\na: 2", "modes/mine.yaml:2: not usable YAML: the key 'a' is there twice"),
        ("a: &x 1\nb: *x", "modes/mine.yaml:2: not usable YAML: an alias (*name) is not allowed"),
        ("on: 1", "modes/mine.yaml:1: not usable YAML: the key 'on' is not text, quote it"),
        ("", "modes/mine.yaml: (file): found None, allowed: a mapping"),
        ("just words", "modes/mine.yaml: (file): found 'just words', allowed: a mapping"),
        ("[" * 2000, "modes/mine.yaml"),
        (
            "!!python/object/apply:os.system ['true']",
            "modes/mine.yaml:1: not usable YAML: the tag ",
        ),
    ],
)
def test_text_that_is_no_mode_is_one_line(tmp_path: Path, text: str, problem: str) -> None:
    (tmp_path / "mine.yaml").write_text(text)
    with pytest.raises(SettingsError) as caught:
        modes.load("mine", tmp_path)
    (line,) = caught.value.problems
    assert line.startswith(problem)
    assert "\n" not in line


def test_a_mode_is_found_by_its_name_only(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(GOOD)
    for name in ("../mine", "mine.yaml", "Mine", "", "."):
        with pytest.raises(SettingsError, match="allowed: mine"):
            modes.load(name, tmp_path)
