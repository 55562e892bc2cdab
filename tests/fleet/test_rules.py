"""Combinations that cannot work are refused with the reason; those that can are not."""

from __future__ import annotations

import pytest

from fleet.serving import Catalogue
from tests.fleet.examples import problems

ARGS = "group_data/all.py: vllm_args."
DATA = "group_data/all.py: "


def args(**given: object) -> dict[str, object]:
    return {"vllm_args": {name.replace("_", "-"): value for name, value in given.items()}}


BAD: list[tuple[str, dict[str, object], str]] = [
    (
        "an abbreviation",
        args(tensor=2),
        f"{ARGS}tensor: is an abbreviation, allowed: tensor-parallel-size",
    ),
    (
        "a slip of the pen",
        args(max_model_length=2048),
        f"{ARGS}max-model-length: is unknown to vLLM 0.33.0; did you mean 'max-model-len'?",
    ),
    (
        "a false that vLLM would drop",
        args(grpc=False),
        f"{ARGS}grpc: found False, which vLLM drops in silence (it has no --no-grpc); leave the "
        "key out, or set it to null",
    ),
    (
        "a speculative mode without a speculator",
        {"vllm_mode": "speculative", "vllm_model": "org/mla"},
        f"{DATA}vllm_model: found 'org/mla', for which no speculator is known; mode 'speculative' "
        "allows: org/dense, org/moe-nvfp4, org/short; add it to models/speculators.yaml or set "
        "vllm_speculator",
    ),
    (
        "a draft that is not locked",
        {"vllm_mode": "speculative", "vllm_model": "org/short"},
        "models/speculators.yaml: org/short.draft: found 'else/absent', allowed: a model with a "
        "lock in models/; make one with: fleet lock else/absent",
    ),
    (
        "a draft in a mode without speculation",
        {"vllm_speculator": "org/draft"},
        f"{DATA}vllm_speculator: found 'org/draft', allowed: only with a mode that needs one, not "
        "'standard'",
    ),
    (
        "a draft by the back door",
        args(speculative_config={"method": "eagle3", "model": "a/b", "num_speculative_tokens": 3}),
        f"{ARGS}speculative-config: found a model in it; name it with vllm_speculator, so that it "
        "is locked and staged",
    ),
    (
        "speculation without a depth",
        args(speculative_config={"method": "ngram"}),
        f"{ARGS}speculative-config: num_speculative_tokens is missing, vLLM requires it",
    ),
    (
        "two attention backends",
        args(attention_config={"backend": "TRITON_ATTN"}),
        "modes/standard.yaml: args.attention-backend: given twice, vLLM refuses it together with "
        "attention-config.backend; drop one",
    ),
    (
        "more GPUs than the replica has",
        {"tensor_parallel": 2},
        f"{DATA}tensor_parallel: found 2, in all 2 GPUs; the replica has 1 (one for each GB10 "
        "host): allowed are sizes whose product is just that",
    ),
    (
        "expert parallel on a dense model",
        args(enable_expert_parallel=True),
        f"{ARGS}enable-expert-parallel: found True, but org/dense is dense; vLLM refuses it, leave "
        "the key out",
    ),
    (
        "async with what excludes it",
        {
            "vllm_env": {"VLLM_USE_V2_MODEL_RUNNER": "0"},
            **args(
                async_scheduling=True,
                speculative_config={"method": "ngram", "num_speculative_tokens": 3},
            ),
        },
        f"{ARGS}async-scheduling: found True, which excludes ngram speculation with "
        "VLLM_USE_V2_MODEL_RUNNER=0; drop one",
    ),
    (
        "FLASH_ATTN with an FP8 cache",
        args(attention_backend="FLASH_ATTN"),
        f"{ARGS}attention-backend: found FLASH_ATTN with kv-cache-dtype fp8, which needs FA3 on "
        "9.0 or FA4 on 10.0; allowed on GB10: FLASHINFER, TRITON_ATTN",
    ),
    (
        "an MLA kernel of another GPU",
        {
            "vllm_mode": "deepseek",
            "vllm_model": "org/mla",
            **args(attention_backend="flashinfer_mla"),
        },
        f"{ARGS}attention-backend: found FLASHINFER_MLA, a kernel for compute capability 10.x; "
        "GB10 is 12.1: leave it out, vLLM chooses TRITON_MLA",
    ),
    (
        "an ordinary kernel for an MLA model",
        {"vllm_model": "org/mla", **args(attention_backend="FLASHINFER")},
        f"{ARGS}attention-backend: found FLASHINFER, but org/mla has MLA; set it to null, vLLM "
        "chooses",
    ),
    (
        "a quantization the checkpoint tells itself",
        {"vllm_mode": "nvfp4", "vllm_model": "org/moe-nvfp4", **args(quantization="mxfp4")},
        f"{ARGS}quantization: found 'mxfp4', but org/moe-nvfp4 says itself that it is modelopt; "
        "vLLM reads that, leave the key out",
    ),
    (
        "a quantization the checkpoint does not have",
        args(quantization="mxfp4"),
        f"{ARGS}quantization: found 'mxfp4', but the weights of org/dense are not quantized; it "
        "would have no effect, choose a quantized checkpoint",
    ),
    (
        "nvfp4 without NVFP4",
        {"vllm_mode": "nvfp4", "vllm_model": "org/dense-fp8"},
        f"{DATA}vllm_model: found 'org/dense-fp8', fp8 weights; mode 'nvfp4' allows: an NVFP4 "
        "checkpoint",
    ),
    (
        "deepseek without MLA",
        {"vllm_mode": "deepseek"},
        f"{DATA}vllm_model: found 'org/dense', LlamaForCausalLM without MLA; mode 'deepseek' "
        "allows: a model with MLA",
    ),
    (
        "more context than the model has",
        {"vllm_model": "org/short", **args(max_model_len="16K")},
        f"{ARGS}max-model-len: found 16384, allowed: at most 8192, the context of org/short",
    ),
    (
        "tools without a parser",
        args(enable_auto_tool_choice=True),
        f"{ARGS}enable-auto-tool-choice: found True without tool-call-parser; vLLM exits without "
        "one, name the parser",
    ),
    (
        "the fusion passes of 2025",
        args(compilation_config={"pass_config": {"enable_attn_fusion": True}}),
        f"{ARGS}compilation-config: found pass_config.enable_attn_fusion, gone since vLLM 0.13; "
        "now fuse_attn_quant, which GB10 does not gain from: leave it out",
    ),
    (
        "a graph mode there is not",
        args(compilation_config={"cudagraph_mode": "DECODE"}),
        f"{ARGS}compilation-config: found cudagraph_mode 'DECODE', allowed: NONE, PIECEWISE, FULL, "
        "FULL_DECODE_ONLY, FULL_AND_PIECEWISE",
    ),
    (
        "no memory at all",
        {"vllm_mode": "lab-standard", **args(kv_cache_memory_bytes=None)},
        f"{DATA}memory_fraction: missing, mode 'lab-standard' has none; allowed: up to 0.90, or "
        "set vllm_args kv-cache-memory-bytes",
    ),
]


@pytest.mark.parametrize(("data", "problem"), [b[1:] for b in BAD], ids=[b[0] for b in BAD])
def test_what_cannot_work_is_refused(
    files: Catalogue, data: dict[str, object], problem: str
) -> None:
    assert problems(files, **data) == [problem]


@pytest.mark.parametrize(
    "data",
    [
        {"vllm_model": "org/dense-fp8"},
        {"vllm_mode": "nvfp4", "vllm_model": "org/moe-nvfp4"},
        {"vllm_mode": "nvfp4", "vllm_model": "org/dense-nvfp4"},
        {"vllm_mode": "nvfp4", "vllm_model": "org/dense-ct-nvfp4"},
        {"vllm_mode": "deepseek", "vllm_model": "org/mla"},
        {"vllm_mode": "speculative", "vllm_model": "org/moe-nvfp4"},
        {"vllm_mode": "speculative", "vllm_model": "org/mla", "vllm_speculator": "org/draft"},
        {"vllm_mode": "ultimate", **args(no_enable_prefix_caching=True)},
        {"vllm_model": "org/mla"},
        {"vllm_model": "org/mla", **args(attention_backend="TRITON_MLA")},
        {"vllm_model": "org/silent"},
        args(async_scheduling=True),
        args(brand_new_switch_of_a_later_release=True),
        args(quantization="fp8"),
        args(enable_auto_tool_choice=True, tool_call_parser="hermes"),
    ],
    ids=str,
)
def test_what_works_is_not_refused(files: Catalogue, data: dict[str, object]) -> None:
    assert problems(files, **data) == []


def test_two_hosts_of_one_replica_may_share_a_model(files: Catalogue) -> None:
    assert problems(files, gpus=2, tensor_parallel=2) == []
