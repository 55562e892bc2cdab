"""Command lines for vLLM itself: what must be refused and why, and what must be accepted.

The refused ones are what the original kit, older recipes and typing mistakes bring; the word is a
part of vLLM's reason, so that a line is refused for its own fault and no other.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field

LLAMA = "meta-llama/Llama-3.1-8B-Instruct"
FP8 = "RedHatAI/Llama-3.1-8B-FP8-block"
COMPRESSED = "RedHatAI/Qwen3-Coder-Next-NVFP4"
MLA = "deepseek-ai/DeepSeek-V2-Lite"
DEEPSEEK = "deepseek-ai/DeepSeek-V3"
DRAFT = "RedHatAI/Llama-3.1-8B-Instruct-speculator.eagle3"


@dataclass(frozen=True)
class Line:
    """``vllm serve MODEL args``; ``{draft}`` is the draft's path, ``reason`` the refusal's."""

    name: str
    model: str
    args: tuple[str, ...]
    reason: str = ""
    env: dict[str, str] = field(default_factory=dict)


def eagle3(**more: object) -> tuple[str, str]:
    config = {"method": "eagle3", "model": "{draft}", "num_speculative_tokens": 3} | more
    kept = {key: value for key, value in config.items() if value is not None}
    return "--speculative-config", json.dumps(kept)


def nodes(count: int, rank: int = 0) -> tuple[str, ...]:
    return (
        *("--nnodes", str(count), "--node-rank", str(rank)),
        *("--master-addr", "127.0.0.1", "--master-port", "29501"),
    )


KIT_COMPILATION = json.dumps(
    {
        "pass_config": {"enable_fi_allreduce_fusion": True, "enable_attn_fusion": True},
        "cudagraph_mode": "FULL_DECODE_ONLY",
    }
)
V1_RUNNER = {"VLLM_USE_V2_MODEL_RUNNER": "0"}

BAD = (
    Line("the kit's compilation-config", FP8, ("--compilation-config", KIT_COMPILATION), "fusion"),
    Line("the kit's quantization, FP8", FP8, ("--quantization", "mxfp4"), "does not match"),
    Line(
        "the kit's quantization, NVFP4", COMPRESSED, ("--quantization", "mxfp4"), "does not match"
    ),
    Line("unknown flag", LLAMA, ("--no-such-flag", "1"), "unrecognized"),
    Line("speculative-model", LLAMA, ("--speculative-model", "x"), "unrecognized"),
    Line("swap-space", LLAMA, ("--swap-space", "4"), "unrecognized"),
    Line("num-scheduler-steps", LLAMA, ("--num-scheduler-steps", "8"), "unrecognized"),
    Line("v2 block manager", LLAMA, ("--use-v2-block-manager",), "unrecognized"),
    Line("max-seq-len-to-capture", LLAMA, ("--max-seq-len-to-capture", "8192"), "unrecognized"),
    Line("cuda-graph-sizes", LLAMA, ("--cuda-graph-sizes", "1"), "unrecognized"),
    Line("guided decoding", LLAMA, ("--guided-decoding-backend", "xgrammar"), "unrecognized"),
    Line("task", LLAMA, ("--task", "generate"), "task"),
    Line("unknown moe backend", MLA, ("--moe-backend", "fancy"), "invalid choice"),
    Line("broken JSON", LLAMA, ("--speculative-config", "{method:eagle3}"), "converted"),
    Line("unknown attention backend", LLAMA, ("--attention-backend", "FLASHFOO"), "FLASHFOO"),
    Line("B12X sparse MLA", MLA, ("--attention-backend", "B12X_MLA_SPARSE"), "B12X_MLA_SPARSE"),
    Line("memory over 1", LLAMA, ("--gpu-memory-utilization", "1.5"), "gpu_memory_utilization"),
    Line("unknown KV dtype", LLAMA, ("--kv-cache-dtype", "fp7"), "fp7"),
    Line("context over the model's", LLAMA, ("--max-model-len", "200000"), "max_model_len"),
    Line("wrong graph mode", LLAMA, ("-cc.cudagraph_mode=FULL_DECODE",), "FULL_DECODE"),
    Line("invented quantization", LLAMA, ("--quantization", "nvfp4"), "nvfp4"),
    Line("float32 with FP8", FP8, ("--dtype", "float32"), "float32"),
    Line("EAGLE-3, unknown key", LLAMA, eagle3(bogus=1), "bogus"),
    Line("EAGLE-3, unknown method", LLAMA, eagle3(method="eagle4"), "method"),
    Line("EAGLE-3 without tokens", LLAMA, eagle3(num_speculative_tokens=None), "tokens"),
    Line("suffix without its package", LLAMA, eagle3(method="suffix", model=None), "rctic"),
    Line("two GPUs of one", LLAMA, ("--tensor-parallel-size", "2"), "World size"),
    Line("three nodes, two ranks", LLAMA, ("--tensor-parallel-size", "2", *nodes(3)), "nnodes"),
    Line(
        "Ray with nnodes",
        LLAMA,
        ("--distributed-executor-backend", "ray", "--tensor-parallel-size", "2", *nodes(2)),
        "nnodes",
    ),
    Line("expert parallel, dense", LLAMA, ("--enable-expert-parallel",), "xpert"),
    Line(
        "external data parallel, dense",
        LLAMA,
        (
            *("--data-parallel-size", "2", "--data-parallel-rank", "0"),
            *("--data-parallel-address", "127.0.0.1", "--data-parallel-rpc-port", "13345"),
        ),
        "Non-MoE",
    ),
    Line(
        "two attention backends",
        LLAMA,
        ("--attention-backend", "FLASHINFER", "-ac.backend", "FLASH_ATTN"),
        "attention",
    ),
    Line("tools without a parser", LLAMA, ("--enable-auto-tool-choice",), "tool"),
    Line(
        "V1 runner: async with pipeline",
        LLAMA,
        ("--async-scheduling", "--pipeline-parallel-size", "2", *nodes(2)),
        "sync",
        V1_RUNNER,
    ),
    *(
        Line(f"environment {name}", LLAMA, ("--fail-on-environ-validation",), name, {name: "1"})
        for name in (
            "VLLM_USE_V1",
            "VLLM_ENABLE_ASYNC_SCHEDULING",
            "VLLM_TORCH_COMPILE",
            "VLLM_ENABLE_NVFP4",
            "VLLM_ATTENTION_BACKEND",
            "VLLM_PREFIX_CACHING",
            "VLLM_MEMORY_FRACTION",
        )
    ),
)

GOOD = (
    Line("EAGLE-3 and async", LLAMA, ("--async-scheduling", *eagle3())),
    Line("EAGLE-3 and pipeline", LLAMA, ("--pipeline-parallel-size", "2", *nodes(2), *eagle3())),
    Line("two hosts, TP 2, head", LLAMA, ("--tensor-parallel-size", "2", *nodes(2))),
    Line(
        "two hosts, TP 2, worker",
        LLAMA,
        ("--tensor-parallel-size", "2", *nodes(2, rank=1), "--headless"),
    ),
    Line("DeepSeek-V3 on eight hosts", DEEPSEEK, ("--tensor-parallel-size", "8", *nodes(8))),
    Line(
        "DeepSeek-V3 with MTP on eight hosts",
        DEEPSEEK,
        (
            *("--tensor-parallel-size", "8", *nodes(8), "--speculative-config"),
            json.dumps({"method": "mtp", "num_speculative_tokens": 1}),
        ),
    ),
    Line(
        "experts and data parallel",
        MLA,
        (
            *("--data-parallel-size", "2", "--data-parallel-rank", "1"),
            *("--data-parallel-address", "127.0.0.1", "--data-parallel-rpc-port", "13345"),
            "--enable-expert-parallel",
        ),
    ),
    Line("context in K", LLAMA, ("--max-model-len", "128K")),
)
