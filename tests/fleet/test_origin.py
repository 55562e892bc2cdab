"""A complaint of the image leads to the line that a person wrote."""

from __future__ import annotations

import pytest

from fleet import origin
from fleet.serving import Catalogue
from tests.fleet.examples import load


@pytest.mark.parametrize(
    ("problem", "place"),
    [
        ("unrecognized arguments: --frobnicate 3", "here: vllm_args.frobnicate"),
        ("argument --frobnicate-more: invalid", "here: vllm_args.frobnicate-more"),
        ("vllm.env: VLLM_MADE_UP: unknown to this image's vLLM", "here: vllm_env.VLLM_MADE_UP"),
        ("argument --max-num-seqs: invalid", "modes/standard.yaml: args.max-num-seqs"),
        ("something else", "modes/standard.yaml, vllm_args or vllm_env"),
        ("not-frobnicate-at-all", "modes/standard.yaml, vllm_args or vllm_env"),
    ],
)
def test_the_key_is_named(files: Catalogue, problem: str, place: str) -> None:
    written = {"frobnicate": 3, "frobnicate-more": 4}
    settings = load(files, vllm_args=written, vllm_env={"VLLM_MADE_UP": "1"})
    assert "max-num-seqs" in settings.mode.args
    assert origin.of_problem(settings, problem, lambda key: "here") == place
