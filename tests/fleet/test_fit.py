"""Memory arithmetic against what vLLM logged on real machines, and against itself."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleet import footprint, kv_cache
from fleet.fit import fit, split
from fleet.kv_cache import Demand
from fleet.lock import kept_config
from fleet.memory import GIB, Plan, Subject, graphs, plan
from fleet.model_config import ModelConfig, read_config
from fleet.models import LockedFile, ModelLock
from fleet.problems import SettingsError

BASE: dict[str, Any] = {
    "architectures": ["AnyForCausalLM"],
    "model_type": "any",
    "dtype": "bfloat16",
    "hidden_size": 4096,
    "intermediate_size": 14336,
    "vocab_size": 128256,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "head_dim": 128,
    "num_hidden_layers": 32,
    "max_position_embeddings": 131072,
}


def config(**more: Any) -> ModelConfig:
    return read_config(BASE | more, "test")


LLAMA_8B = config()
MINIMAX_M2 = config(num_hidden_layers=62, max_position_embeddings=196608)
QWEN3_CODER_30B = config(
    num_hidden_layers=48, num_key_value_heads=4, max_position_embeddings=262144
)
QWEN3_CODER_480B = config(num_hidden_layers=62, max_position_embeddings=262144)
QWEN36_35B = config(
    num_hidden_layers=40,
    num_attention_heads=16,
    num_key_value_heads=2,
    head_dim=256,
    full_attention_interval=4,
    linear_num_key_heads=16,
    linear_num_value_heads=32,
    linear_key_head_dim=128,
    linear_value_head_dim=128,
    linear_conv_kernel_dim=4,
    mamba_ssm_dtype="float32",
    max_position_embeddings=262144,
)
DEEPSEEK_V3 = config(
    num_hidden_layers=61,
    num_attention_heads=128,
    num_key_value_heads=128,
    hidden_size=7168,
    intermediate_size=18432,
    vocab_size=129280,
    kv_lora_rank=512,
    qk_rope_head_dim=64,
    n_routed_experts=256,
    num_experts_per_tok=8,
    moe_intermediate_size=2048,
    max_position_embeddings=163840,
)
GEMMA = config(layer_types=["sliding_attention"] * 5 + ["full_attention"], sliding_window=512)
SPARSE = config(index_head_dim=128)


@dataclass(frozen=True)
class Published:
    """A line of somebody's log; ``figure`` is GiB, tokens or sequences, within ``error`` of it."""

    source: str
    ours: float
    figure: float
    error: float


def request(demand: Demand, tokens: int) -> float:
    return kv_cache.layout(demand).sequence_bytes(tokens) / GIB


def at_once(demand: Demand, gib: float, tokens: int) -> float:
    return kv_cache.layout(demand).sequences(round(gib * GIB), tokens)


MINIMAX = Demand(MINIMAX_M2, tensor=2)
QWEN36 = Demand(QWEN36_35B, "fp8")
PUBLISHED = (
    Published("eugr/spark-vllm-docker#396, 2 GB10: GiB", request(MINIMAX, 196608), 23.25, 0.001),
    Published(
        "same: longest in 22.5 GiB",
        kv_cache.layout(MINIMAX).longest(round(22.5 * GIB), 196608),
        190272,
        0.001,
    ),
    Published("same: at once in 28.74 GiB", at_once(MINIMAX, 28.74, 196608), 1.22, 0.02),
    Published(
        "vllm#34076, Qwen3-Coder-30B: GiB", request(Demand(QWEN3_CODER_30B), 262144), 24.0, 0.001
    ),
    Published(
        "vllm-project/recipes#12, Qwen3-Coder-480B: GiB",
        request(Demand(QWEN3_CODER_480B), 262144),
        62.0,
        0.001,
    ),
    Published("club-3090#612, Qwen3.6-35B-A3B", at_once(QWEN36, 5.98, 131072), 4.33, 0.002),
    Published("club-3090#652, Qwen3.6-35B-A3B", at_once(QWEN36, 6.01, 131072), 4.35, 0.002),
)


@pytest.mark.parametrize("published", PUBLISHED, ids=lambda one: one.source)
def test_the_cache_is_what_vllm_logged(published: Published) -> None:
    assert published.ours == pytest.approx(published.figure, rel=published.error)


def test_graphs_are_those_vllm_counts() -> None:
    """PIECEWISE=51 with the defaults, in the log of spark-vllm-docker#200; 35 full ones."""
    assert graphs(Plan(fraction=0.8)) == 51 + 35


DEEPSEEK = Subject("deepseek-ai/DeepSeek-V3", 671_000_000_000, DEEPSEEK_V3, "its README")
DEEPSEEK_MODE = plan(
    {
        "gpu-memory-utilization": 0.85,
        "kv-cache-dtype": "fp8",
        "max-model-len": 32768,
        "max-num-batched-tokens": 8192,
        "max-num-seqs": 8,
    }
)


def test_deepseek_v3_is_refused_on_one_host_and_told_how_many_it_needs() -> None:
    result = fit(DEEPSEEK, DEEPSEEK_MODE)
    assert result.verdict == "refused"
    assert result.hosts_needed == 8
    assert "weights take 624.9 GiB on each of 1 host(s)" in result.problem
    assert result.remedies == ("8 hosts (tensor_parallel 8, pipeline_parallel 1)",)
    assert fit(DEEPSEEK, replace(DEEPSEEK_MODE, tensor=8)).verdict == "fits"
    assert fit(DEEPSEEK, replace(DEEPSEEK_MODE, pipeline=7)).verdict == "refused"


def test_four_bits_need_half_the_hosts() -> None:
    half = replace(DEEPSEEK, weights=DEEPSEEK.weights // 2)
    assert fit(half, DEEPSEEK_MODE).hosts_needed == 4


MOE = Subject("org/moe", 125 * GIB, config(num_experts=128, moe_intermediate_size=1024), "test")


def test_whether_experts_fit_that_data_ranks_share_is_not_known() -> None:
    """Two hosts hold 125 GiB of experts, and do not hold 125 GiB of anything else twice."""
    wanted = plan({"gpu-memory-utilization": 0.85, "max-model-len": 8192, "data-parallel-size": 2})
    result = fit(MOE, wanted)
    assert (result.verdict, result.hosts_needed, result.remedies) == ("unknown", None, ())
    assert "how much of its weights are experts is not known" in result.problem
    assert fit(replace(MOE, config=None), wanted).verdict == "unknown"
    assert fit(replace(MOE, weights=60 * GIB), wanted).verdict == "fits"
    heavy = fit(replace(MOE, weights=400 * GIB), wanted)
    assert (heavy.verdict, "weights take up to 400.0 GiB" in heavy.problem) == ("refused", True)


def test_each_data_rank_of_a_dense_model_holds_all_of_it() -> None:
    dense = replace(MOE, config=LLAMA_8B)
    result = fit(dense, Plan(fraction=0.85, context=8192, data=2))
    assert result.verdict == "refused"
    assert "weights take 125.0 GiB on each of 2 host(s)" in result.problem
    assert result.remedies == ("4 hosts (tensor_parallel 2, pipeline_parallel 1, data_parallel 2)",)
    assert fit(dense, Plan(fraction=0.85, context=8192, data=2, tensor=2)).verdict == "fits"


def test_a_context_that_does_not_fit_is_told_with_what_does() -> None:
    subject = Subject("org/llama", 16 * 10**9, LLAMA_8B, "test")
    wanted = Plan(fraction=0.25, context=131072, sequences=4)
    result = fit(subject, wanted)
    assert result.verdict == "refused"
    assert "one sequence of 131072 tokens takes 16.0 GiB" in result.problem
    assert "kv-cache-dtype fp8" in result.remedies
    shorter = next(text for text in result.remedies if text.startswith("max-model-len"))
    assert fit(subject, replace(wanted, context=int(shorter.split()[1]))).verdict == "fits"


def test_the_system_keeps_its_floor() -> None:
    subject = Subject("org/llama", 16 * 10**9, LLAMA_8B, "test")
    result = fit(subject, Plan(fraction=0.9, floor=12 * GIB))
    assert result.verdict == "refused"
    assert "must stay free (memory_floor_gib)" in result.problem
    assert result.remedies[0] == "memory_fraction 0.86"
    assert fit(subject, Plan(fraction=0.86, floor=12 * GIB)).verdict == "fits"


def test_what_cannot_be_derived_is_unknown_not_guessed() -> None:
    result = fit(Subject("org/sparse", 10**9, SPARSE, "test"), Plan(fraction=0.8))
    assert result.verdict == "unknown"
    assert "32 layers cache in an unknown way" in result.problem
    assert fit(Subject("org/none", 10**9, None, "test"), Plan(fraction=0.8)).verdict == "unknown"


GEMMA_4 = {"model_type": "gemma4_text"}
UNEVEN = (
    *("global_head_dim", "num_global_key_value_heads", "num_kv_shared_layers"),
    *("swa_num_key_value_heads",),
)


@pytest.mark.parametrize("facts", [GEMMA_4, *({key: 4} for key in UNEVEN)], ids=str)
def test_layers_of_different_sizes_are_unknown_not_guessed(facts: dict[str, Any]) -> None:
    kept = kept_config(json.dumps({**BASE, **facts}).encode(), None, "test")
    subject = Subject("org/uneven", 10**9, read_config(kept, "test"), "test")
    assert fit(subject, Plan(fraction=0.8)).verdict == "unknown"


def test_weights_alone_can_refuse_what_is_otherwise_unknown() -> None:
    result = fit(Subject("org/none", 10**12, None, "test"), Plan(fraction=0.8))
    assert result.verdict == "refused"


def test_a_cache_of_given_size_counts_as_it_is() -> None:
    result = fit(
        Subject("lab/tiny", 462_176, LLAMA_8B, "test"),
        plan({"kv-cache-memory-bytes": "1G", "max-model-len": 512, "enforce-eager": True}),
    )
    assert (result.verdict, result.cache) == ("fits", 1 << 30)


@pytest.mark.parametrize(
    ("hosts", "sizes"), [(1, (1, 1)), (2, (2, 1)), (7, (1, 7)), (6, (2, 3)), (8, (8, 1))]
)
def test_tensor_sizes_divide_the_heads(hosts: int, sizes: tuple[int, int]) -> None:
    assert split(DEEPSEEK_V3, hosts) == sizes


def test_speculation_costs_cache() -> None:
    alone = kv_cache.layout(Demand(LLAMA_8B)).token_bytes
    draft = kv_cache.layout(Demand(LLAMA_8B, draft=config(num_hidden_layers=1))).token_bytes
    own = kv_cache.layout(Demand(LLAMA_8B, own_draft_layers=1)).token_bytes
    assert draft == own == alone * 33 / 32


@pytest.mark.parametrize("method", ["mtp", "qwen3_next_mtp"])
def test_a_models_own_name_of_mtp_also_costs_a_layer(method: str) -> None:
    wanted = plan({}, {"method": method, "num_speculative_tokens": 2})
    assert (wanted.own_draft_layers, wanted.speculative_tokens) == (1, 2)


@pytest.mark.parametrize("dtype", ["nvfp4", "turboquant_4bit", "fp7"])
def test_a_cache_type_of_unknown_size_is_not_guessed(dtype: str) -> None:
    with pytest.raises(SettingsError, match="its size is not known here"):
        kv_cache.layout(Demand(LLAMA_8B, dtype))


PLANS = st.builds(
    Plan,
    fraction=st.sampled_from([0.1, 0.4, 0.7, 0.85, 0.9]),
    context=st.sampled_from([512, 8192, 65536, 131072]),
    sequences=st.sampled_from([1, 8, 256]),
    batch_tokens=st.sampled_from([2048, 16384]),
    kv_dtype=st.sampled_from(["auto", "fp8"]),
    tensor=st.sampled_from([1, 2, 4]),
    pipeline=st.sampled_from([1, 2, 3]),
    data=st.sampled_from([1, 1, 2]),
    speculative_tokens=st.sampled_from([0, 3]),
    prefix_caching=st.booleans(),
)
CONFIGS = st.sampled_from([LLAMA_8B, QWEN36_35B, DEEPSEEK_V3, GEMMA])
WEIGHTS = st.integers(1 << 30, 2000 << 30)


@given(CONFIGS, WEIGHTS, PLANS)
def test_what_is_offered_instead_does_fit(facts: ModelConfig, weights: int, wanted: Plan) -> None:
    subject = Subject("org/name", weights, facts, "test")
    result = fit(subject, wanted)
    known = wanted.data == 1 or facts.experts is None
    assert result.verdict in ("fits", "refused", *(() if known else ("unknown",)))
    assert bool(result.problem) == (result.verdict != "fits")
    assert "\n" not in result.problem
    for remedy in result.remedies:
        name, value = remedy.split(" ", 1)
        if name == "memory_fraction":
            assert fit(subject, replace(wanted, fraction=float(value))).verdict == "fits"
        elif name == "max-model-len":
            assert fit(subject, replace(wanted, context=int(value))).verdict == "fits"
        elif name == "kv-cache-dtype":
            assert fit(subject, replace(wanted, kv_dtype=value)).verdict == "fits"


@given(CONFIGS, PLANS, st.integers(1, 1 << 17))
def test_a_longer_sequence_never_takes_less(facts: ModelConfig, wanted: Plan, tokens: int) -> None:
    layout = kv_cache.layout(Demand(facts, tensor=wanted.tensor, pipeline=wanted.pipeline))
    assert layout.blocks(tokens) <= layout.blocks(tokens + 1)
    held = layout.longest(1 << 33, tokens)
    assert held <= tokens
    if held:
        assert (layout.blocks(held) + 1) * layout.block_bytes <= 1 << 33


def locked(**sizes: int) -> ModelLock:
    files = [
        LockedFile(path=name.replace("__", "/").replace("_", "."), size=size, sha256="a" * 64)
        for name, size in sizes.items()
    ]
    return ModelLock(repo="org/name", revision="b" * 40, files=tuple(files))


def test_weights_are_counted_once() -> None:
    """Repositories keep the same weights in several layouts."""
    shards = locked(model1_safetensors=5, model2_safetensors=6, consolidated_safetensors=11)
    assert footprint.weights(shards) == 11
    assert footprint.weights(locked(consolidated_safetensors=11)) == 11
    assert footprint.weights(locked(model_safetensors=7, original__x_pth=7, m_bin=7)) == 7
    assert footprint.weights(locked(pytorch_bin=9, config_json=1)) == 9
    assert footprint.weights(locked(sub__model_safetensors=3)) == 3
