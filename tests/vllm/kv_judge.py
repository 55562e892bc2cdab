"""Runs on the checking environment: vLLM's own plan of the KV cache, without a GPU.

stdin: JSON, [{"name", "model": path, "args": [...], "cache": bytes}, ...]. stdout: one JSON line a
case: {"name", "block", "page", "request", "sequences", "longest"}; bytes, tokens, sequences at the
model's length. Engine configuration, state shapes, alignment, groups and planning are vLLM's; only
the list of layers is put together here, as the layers themselves would report it.
"""

from __future__ import annotations

import json
import sys

import judge  # first: it keeps vLLM's prints off stdout
from vllm.config import set_current_vllm_config
from vllm.model_executor.models import ModelRegistry
from vllm.platforms import current_platform
from vllm.utils.torch_utils import kv_cache_dtype_str_to_dtype
from vllm.v1.attention.backends.registry import AttentionBackendEnum
from vllm.v1.attention.backends.utils import resolve_kv_cache_layout
from vllm.v1.core import kv_cache_planning, kv_cache_utils
from vllm.v1.kv_cache_interface import (
    FullAttentionSpec,
    MambaSpec,
    MLAAttentionSpec,
    SlidingWindowSpec,
    get_kv_quant_mode,
)

SMALL = 1 << 30  # bytes of cache in which "longest" must fit, one block of them kept back
RECURRENT = ("linear_attention", "mamba")
LAYOUTS = ["LBHNC", "BLHNC"]  # what the FLASHINFER backend declares


def layer_kinds(text):
    """The kind of each layer, as transformers completes the configuration."""
    kinds = getattr(text, "layers_block_type", None) or getattr(text, "layer_types", None)
    return list(kinds) if kinds else ["full_attention"] * text.num_hidden_layers


def attention(config, kind):
    """The specification of one attention layer."""
    model, cache = config.model_config, config.cache_config
    common = {
        "block_size": cache.block_size,
        "head_size": model.get_head_size(),
        "dtype": kv_cache_dtype_str_to_dtype(cache.cache_dtype, model),
        "kv_quant_mode": get_kv_quant_mode(cache.cache_dtype),
    }
    if model.use_mla:
        return MLAAttentionSpec(num_kv_heads=1, cache_dtype_str=cache.cache_dtype, **common)
    common["num_kv_heads"] = model.get_num_kv_heads(config.parallel_config)
    if kind == "sliding_attention":
        return SlidingWindowSpec(sliding_window=model.hf_text_config.sliding_window, **common)
    return FullAttentionSpec(**common)


def recurrent(config):
    """The specification of one recurrent layer, as MambaBase.get_kv_cache_spec makes it."""
    model, cache = config.model_config, config.cache_config
    cls, _ = ModelRegistry.resolve_model_cls(model.architecture, model_config=model)
    return MambaSpec(
        shapes=cls.get_mamba_state_shape_from_config(config),
        dtypes=cls.get_mamba_state_dtype_from_config(config),
        block_size=cache.mamba_block_size,
        page_size_padded=cache.mamba_page_size_padded,
        mamba_cache_mode=cache.mamba_cache_mode,
        num_speculative_blocks=config.num_speculative_tokens,
    )


def specifications(config):
    """One specification a layer of the busiest pipeline stage."""
    kinds = layer_kinds(config.model_config.hf_text_config)
    stages = config.parallel_config.pipeline_parallel_size
    kinds = kinds[: -(-len(kinds) // stages)]
    backend = AttentionBackendEnum.TRITON_ATTN.get_class()
    if any(kind in RECURRENT for kind in kinds):
        current_platform._align_hybrid_block_size(config, backend)
    made = {}
    for number, kind in enumerate(kinds):
        if kind in RECURRENT:
            made[f"layers.{number}"] = recurrent(config)
        elif "attention" in kind:
            made[f"layers.{number}"] = attention(config, kind)
    if config.speculative_config:  # one layer more, EAGLE-3's of the same sizes and MTP's
        made["draft.0"] = attention(config, "full_attention")
    return made


def plan(case):
    """vLLM's answer for one case."""
    parser = judge.serve_parser()
    config = judge.engine_config(judge.parse(parser, [case["model"], *case["args"]]))
    with set_current_vllm_config(config):
        layers = specifications(config)
        resolve_kv_cache_layout(config, [LAYOUTS], layers.values())
        groups = kv_cache_planning.get_global_kv_cache_groups(config, [layers])
        plans = kv_cache_planning.get_kv_cache_configs(config, [layers], [case["cache"]], groups)
        _, sequences = kv_cache_utils.get_kv_cache_capacity(config, plans[0])
        builder = kv_cache_planning.DefaultKVCacheConfigBuilder()
        request = kv_cache_planning._max_memory_usage_bytes_from_groups(builder, config, groups)
        block = kv_cache_planning._pool_bytes_per_block_from_builder(builder, config, groups)
        longest = kv_cache_planning._estimate_max_model_len_from_groups(
            builder, config, groups, SMALL - block
        )
    spec = groups[0].kv_cache_spec
    return {
        "block": spec.block_size,
        "page": spec.page_size_bytes,
        "groups": len(groups),
        "request": request,
        "sequences": sequences,
        "longest": longest,
    }


def main():
    for case in json.load(sys.stdin):
        print(json.dumps({"name": case["name"], **plan(case)}), file=judge.ANSWERS)


if __name__ == "__main__":
    main()
