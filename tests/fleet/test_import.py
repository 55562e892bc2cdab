"""``fleet import`` and ``fleet fit --hosts`` as a person types them."""

from __future__ import annotations

from pathlib import Path

import pytest

from fleet import cli, modes

RECIPE = """
recipe_version: "2"
model: a/b
defaults: {max_model_len: 4096, typo: 1}
"""


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    path = tmp_path / "My Recipe.yaml"
    path.write_text(RECIPE)
    return path


def test_dry_shows_the_mode_and_writes_nothing(
    recipe: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = modes.names()
    assert cli.main(["import", str(recipe), "--dry"]) == 0
    said = capsys.readouterr().out
    assert "--- modes/my-recipe.yaml" in said
    assert "not carried over: defaults.typo: is no argument of vLLM" in said
    assert "next: fleet lock a/b" in said
    assert modes.names() == before


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--name", "standard"], "modes/standard.yaml: is there already"),
        (["--name", "../up"], "--name: found '../up'"),
        (["--name", "Upper"], "--name: found 'Upper'"),
    ],
)
def test_a_mode_is_never_written_over(
    recipe: Path, words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    before = (modes.MODES / "standard.yaml").read_text()
    assert cli.main(["import", str(recipe), *words]) == 1
    assert said in capsys.readouterr().err
    assert (modes.MODES / "standard.yaml").read_text() == before


def test_deepseek_v3_fits_eight_hosts_and_not_one(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["fit", "deepseek-ai/DeepSeek-V3", "--mode", "deepseek"]
    assert cli.main(words) == 1
    assert "624.9 GiB" in capsys.readouterr().out
    assert cli.main([*words, "--hosts", "8"]) == 0
    assert cli.main([*words, "--hosts", "0"]) == 1
    assert "--hosts: found 0, allowed: 1 to 64" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("mode", "model", "sequences"),
    [
        ("standard", "Qwen/Qwen3-Coder-Next-FP8", "14.1 at once"),
        ("ultimate", "Qwen/Qwen3-Coder-Next-FP8", "22.5 at once"),
        ("nvfp4", "GadflyII/Qwen3-Coder-Next-NVFP4", "2.2 at once"),
        ("standard", "Qwen/Qwen2.5-1.5B-Instruct", "198.9 at once"),
    ],
)
def test_the_models_of_the_original_kit_are_known_well_enough_for_the_arithmetic(
    mode: str, model: str, sequences: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["show", mode, "--model", model]) == 0
    *_, said, verdict = capsys.readouterr().out.strip().splitlines()
    assert (sequences in said, verdict) == (True, "fits")
