"""What a host of a replica must hold, by parts, and what vLLM may take of it. Pure.

Every figure is bytes unless its name says otherwise. docs/fit.md has the sources of the allowances
and how far the results are from measured ones.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil
from typing import Any

from fleet import kv_cache, speculators
from fleet.combine import whole_number
from fleet.gb10 import GPU_GIB
from fleet.model_config import ModelConfig

GIB = 1 << 30
AVAILABLE_GIB = 118.0  # MemAvailable of an idle, headless GB10
OUTSIDE_GIB = 2.0  # the API server's own processes, which vLLM does not count
FIXED_GIB = 4.0  # CUDA context, workspaces of kernels, the engine's process: one pool of memory
FABRIC_GIB = 1.0  # NCCL's buffers, where a replica has several hosts
GRAPH_GIB = 0.06  # a captured CUDA graph
ACTIVATION_SAFETY = 2.0  # measured peaks over the tensors that are counted here
_VLLM_SEQS, _VLLM_TOKENS = 256, 2048  # vLLM's defaults on a GB10


@dataclass(frozen=True)
class Subject:
    """A model as far as memory goes. ``source`` says where the facts come from."""

    repo: str
    weights: int
    config: ModelConfig | None
    source: str
    draft_weights: int = 0
    draft: ModelConfig | None = None


@dataclass(frozen=True)
class Plan:
    """What vLLM is asked for, on hosts of which kind."""

    fraction: float | None
    cache_bytes: int | None = None
    context: int | None = None
    sequences: int = _VLLM_SEQS
    batch_tokens: int = _VLLM_TOKENS
    kv_dtype: str = "auto"
    tensor: int = 1
    pipeline: int = 1
    data: int = 1
    speculative_tokens: int = 0
    own_draft_layers: int = 0
    eager: bool = False
    prefix_caching: bool = True
    block: int = kv_cache.BLOCK
    available: int = round(AVAILABLE_GIB * GIB)
    floor: int = 8 * GIB
    gpu: int = round(GPU_GIB * GIB)

    @property
    def hosts(self) -> int:
        """Hosts of the replica; a GB10 has one GPU."""
        return self.tensor * self.pipeline * self.data


def plan(args: Mapping[str, Any], speculation: Mapping[str, Any] | None = None) -> Plan:
    """The plan in vLLM's own arguments, as rendered."""
    speculative = speculation or {}
    off = "no-enable-prefix-caching" in args
    compilation = args.get("compilation-config")
    graphs = compilation.get("cudagraph_mode") if isinstance(compilation, dict) else None
    return Plan(
        fraction=args.get("gpu-memory-utilization"),
        cache_bytes=whole_number(args.get("kv-cache-memory-bytes")),
        context=whole_number(args.get("max-model-len")),
        sequences=whole_number(args.get("max-num-seqs")) or _VLLM_SEQS,
        batch_tokens=whole_number(args.get("max-num-batched-tokens")) or _VLLM_TOKENS,
        kv_dtype=str(args.get("kv-cache-dtype", "auto")),
        tensor=whole_number(args.get("tensor-parallel-size")) or 1,
        pipeline=whole_number(args.get("pipeline-parallel-size")) or 1,
        data=whole_number(args.get("data-parallel-size")) or 1,
        speculative_tokens=int(speculative.get("num_speculative_tokens", 0)),
        own_draft_layers=1 if speculators.method(speculative) == "mtp" else 0,
        eager=bool(args.get("enforce-eager")) or graphs == "NONE",
        prefix_caching=not off,
        block=whole_number(args.get("block-size")) or kv_cache.BLOCK,
    )


def parts(subject: Subject, wanted: Plan) -> dict[str, int]:
    """What a host holds besides the cache."""
    config = subject.config
    fixed = FIXED_GIB + (FABRIC_GIB if wanted.hosts > 1 else 0.0)
    return {
        "weights": _share(subject.weights, config, wanted),
        "speculator": subject.draft_weights,
        "activations": _activations(config, wanted) if config else 0,
        "CUDA graphs": 0 if wanted.eager else round(graphs(wanted) * GRAPH_GIB * GIB),
        "runtime": round(fixed * GIB),
    }


def _share(weights: int, config: ModelConfig | None, wanted: Plan) -> int:
    """The weights of the fullest host: layers do not divide evenly over pipeline stages. Each data
    rank holds all but experts, so for a model with experts this is the most."""
    total = _cached_layers(config) if config else 0
    stage = ceil(total / wanted.pipeline) / total if total else 1 / wanted.pipeline
    return ceil(weights * stage / wanted.tensor)


def _cached_layers(config: ModelConfig) -> int:
    kinds = config.layers
    return kinds.full + kinds.sliding + kinds.recurrent + kinds.unknown


def _activations(config: ModelConfig, wanted: Plan) -> int:
    """The peak of one step with the most tokens: the widest layer, the residuals, the logits."""
    width = 4 * config.hidden_size + 2 * config.heads * config.head_dim // wanted.tensor
    inner: int = config.intermediate_size or 4 * config.hidden_size
    if config.experts_per_token and config.expert_size:
        inner = max(inner, config.experts_per_token * (config.expert_size + config.hidden_size))
    step = wanted.batch_tokens * (width + 3 * inner // wanted.tensor) * 2
    logits = wanted.sequences * (1 + wanted.speculative_tokens) * config.vocab_size * 4
    return round(ACTIVATION_SAFETY * (step + logits))


def graphs(wanted: Plan) -> int:
    """Graphs vLLM captures by default: sizes up to 512, piecewise and (up to the batch) full."""
    tokens = 1 + wanted.speculative_tokens
    most = min(2 * wanted.sequences * tokens, 512)
    sizes: list[int] = [1, 2, 4, *range(8, 256, 8), *range(256, 513, 16)]
    piecewise = sum(size <= most for size in sizes)
    return piecewise + sum(size <= wanted.sequences * tokens for size in sizes)


def budget(wanted: Plan, held: Mapping[str, int]) -> int:
    """What vLLM may take of one host."""
    if wanted.fraction is not None and wanted.cache_bytes is None:
        return round(wanted.fraction * wanted.gpu)
    return sum(held.values()) + (wanted.cache_bytes or 0)


def gib(size: int) -> str:
    """Bytes as GiB with one decimal."""
    return f"{size / GIB:.1f}"
