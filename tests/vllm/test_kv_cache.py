"""Our KV cache arithmetic against vLLM's own planner, to the byte."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from fleet import kv_cache
from fleet.kv_cache import Demand
from fleet.model_config import read_config
from tests.vllm import environment
from tests.vllm.conftest import Workspace
from tests.vllm.lines import eagle3, nodes
from tests.vllm.stand_ins import DEEPSEEK, DRAFT, STAND_INS, StandIn

pytestmark = pytest.mark.vllm

JUDGE = Path(__file__).parent / "kv_judge.py"
CACHE, SMALL = 64 << 30, 1 << 30
BATCH = 8192
KINDS = [one for one in STAND_INS if one.kind not in ("dense NVFP4, ModelOpt", "EAGLE-3 pair")]
VARIANTS: dict[str, tuple[tuple[str, ...], dict[str, Any]]] = {
    "plain": ((), {}),
    "fp8": (("--kv-cache-dtype", "fp8"), {"kv_dtype": "fp8"}),
    "no prefix cache": (("--no-enable-prefix-caching",), {"prefix_caching": False}),
    "TP 2": (("--tensor-parallel-size", "2", *nodes(2)), {"tensor": 2}),
    "PP 2": (("--pipeline-parallel-size", "2", *nodes(2)), {"pipeline": 2}),
    "blocks of 64": (("--block-size", "64"), {"block": 64}),
}
EAGLE3 = {"speculative_tokens": 3, "own_draft_layers": 1}
SPECULATIVE: dict[str, tuple[tuple[str, ...], dict[str, Any]]] = {
    "EAGLE-3": (eagle3(), EAGLE3),
    "MTP": (eagle3(method="mtp", model=None), EAGLE3),
}
ALL = VARIANTS | SPECULATIVE
BY_KIND = {one.kind: one for one in STAND_INS}
CASES = [
    *product((*KINDS, DEEPSEEK), VARIANTS),
    (BY_KIND["EAGLE-3 pair"], "EAGLE-3"),
    (BY_KIND["hybrid MoE with MTP"], "MTP"),
]


def title(stand_in: StandIn, variant: str) -> str:
    return f"{stand_in.kind}, {variant}"


def arguments(workspace: Workspace, variant: str) -> list[str]:
    draft = str(workspace.snapshot(DRAFT))
    return [word.replace("{draft}", draft) for word in ALL[variant][0]]


@pytest.fixture(scope="module")
def plans(workspace: Workspace) -> dict[str, dict[str, Any]]:
    cases = [
        {
            "name": title(stand_in, variant),
            "model": str(workspace.snapshot(stand_in)),
            "args": ["--max-num-batched-tokens", str(BATCH), *arguments(workspace, variant)],
            "cache": CACHE,
        }
        for stand_in, variant in CASES
    ]
    answers = environment.run(JUDGE, json.dumps(cases)).splitlines()
    return {answer["name"]: answer for answer in map(json.loads, answers)}


@pytest.mark.parametrize(("stand_in", "variant"), CASES, ids=lambda v: getattr(v, "kind", v))
def test_as_vllm_plans_it(
    plans: dict[str, dict[str, Any]], stand_in: StandIn, variant: str
) -> None:
    config = read_config(stand_in.config, stand_in.repo)
    chosen = ALL[variant][1]
    pipeline = chosen.get("pipeline", 1)
    demand = replace(Demand(config, in_flight_tokens=(pipeline + 1) * BATCH), **chosen)
    layout = kv_cache.layout(demand)
    theirs = plans[title(stand_in, variant)]
    context = config.context or 0
    assert layout.page_bytes == theirs["page"]
    assert layout.sequence_bytes(context) == theirs["request"]
    assert layout.sequences(CACHE, context) == pytest.approx(theirs["sequences"])
    assert layout.longest(SMALL, context) == theirs["longest"]


def test_the_matrix_has_each_way_to_cache() -> None:
    configs = [read_config(one.config, one.repo) for one, _ in CASES]
    assert any(config.latent for config in configs)
    assert any(config.layers.sliding for config in configs)
    assert any(config.layers.recurrent for config in configs)
