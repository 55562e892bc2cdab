"""Model repositories of each kind: real architectures and sizes, a tokenizer, no weights.

config.json as public copies and model cards have it, cut to what decides architecture, memory and
kernels. vLLM builds an engine configuration from that; it never opens the weights.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from fleet import lock
from fleet.models import ModelLock, file_name
from lab.content.models import MODELS, blob_id

TOKENIZER = ("tokenizer.json", "tokenizer_config.json", "generation_config.json")
COMMON = {"dtype": "bfloat16", "rms_norm_eps": 1e-6, "bos_token_id": 0, "eos_token_id": 1}

LLAMA_8B = COMMON | {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_size": 4096,
    "intermediate_size": 14336,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "head_dim": 128,
    "max_position_embeddings": 131072,
    "vocab_size": 128256,
    "rope_theta": 500000.0,
    "tie_word_embeddings": False,
}
LLAMA_EAGLE3 = LLAMA_8B | {
    "architectures": ["LlamaForCausalLMEagle3"],
    "num_hidden_layers": 1,
    "draft_vocab_size": 32000,
}
QWEN2_1_5B = COMMON | {
    "architectures": ["Qwen2ForCausalLM"],
    "model_type": "qwen2",
    "hidden_size": 1536,
    "intermediate_size": 8960,
    "num_hidden_layers": 28,
    "num_attention_heads": 12,
    "num_key_value_heads": 2,
    "max_position_embeddings": 32768,
    "sliding_window": 32768,
    "use_sliding_window": False,
    "vocab_size": 151936,
    "rope_theta": 1000000.0,
    "tie_word_embeddings": True,
}
QWEN3_NEXT_80B = COMMON | {
    "architectures": ["Qwen3NextForCausalLM"],
    "model_type": "qwen3_next",
    "hidden_size": 2048,
    "intermediate_size": 5120,
    "num_hidden_layers": 48,
    "num_attention_heads": 16,
    "num_key_value_heads": 2,
    "head_dim": 256,
    "full_attention_interval": 4,
    "linear_conv_kernel_dim": 4,
    "linear_key_head_dim": 128,
    "linear_num_key_heads": 16,
    "linear_num_value_heads": 32,
    "linear_value_head_dim": 128,
    "max_position_embeddings": 262144,
    "mlp_only_layers": [],
    "decoder_sparse_step": 1,
    "num_experts": 512,
    "num_experts_per_tok": 10,
    "moe_intermediate_size": 512,
    "shared_expert_intermediate_size": 512,
    "norm_topk_prob": True,
    "partial_rotary_factor": 0.25,
    "rope_theta": 5000000,
    "tie_word_embeddings": False,
    "vocab_size": 151936,
}
QWEN3_30B = COMMON | {
    "architectures": ["Qwen3MoeForCausalLM"],
    "model_type": "qwen3_moe",
    "hidden_size": 2048,
    "intermediate_size": 6144,
    "num_hidden_layers": 48,
    "num_attention_heads": 32,
    "num_key_value_heads": 4,
    "head_dim": 128,
    "max_position_embeddings": 262144,
    "mlp_only_layers": [],
    "decoder_sparse_step": 1,
    "num_experts": 128,
    "num_experts_per_tok": 8,
    "moe_intermediate_size": 768,
    "norm_topk_prob": True,
    "rope_theta": 10000000,
    "tie_word_embeddings": False,
    "vocab_size": 151936,
}
GEMMA3_1B = COMMON | {
    "architectures": ["Gemma3ForCausalLM"],
    "model_type": "gemma3_text",
    "hidden_size": 1152,
    "intermediate_size": 6912,
    "num_hidden_layers": 26,
    "num_attention_heads": 4,
    "num_key_value_heads": 1,
    "head_dim": 256,
    "query_pre_attn_scalar": 256,
    "max_position_embeddings": 32768,
    "sliding_window": 512,
    "sliding_window_pattern": 6,
    "hidden_activation": "gelu_pytorch_tanh",
    "rope_theta": 1000000,
    "rope_local_base_freq": 10000,
    "vocab_size": 262144,
}
NEMOTRON_3_NANO = COMMON | {
    "architectures": ["NemotronHForCausalLM"],
    "model_type": "nemotron_h",
    "hidden_size": 2688,
    "intermediate_size": 1856,
    "hybrid_override_pattern": "MEMEM*EMEMEM*EMEMEM*EMEMEM*EMEMEM*EMEMEMEM*EMEMEMEME",
    "num_hidden_layers": 52,
    "num_attention_heads": 32,
    "num_key_value_heads": 2,
    "head_dim": 128,
    "mamba_num_heads": 64,
    "mamba_head_dim": 64,
    "n_groups": 8,
    "ssm_state_size": 128,
    "conv_kernel": 4,
    "n_routed_experts": 128,
    "num_experts_per_tok": 6,
    "moe_intermediate_size": 1856,
    "max_position_embeddings": 262144,
    "vocab_size": 131072,
}
DEEPSEEK_V3 = COMMON | {
    "architectures": ["DeepseekV3ForCausalLM"],
    "model_type": "deepseek_v3",
    "hidden_size": 7168,
    "intermediate_size": 18432,
    "moe_intermediate_size": 2048,
    "num_hidden_layers": 61,
    "num_attention_heads": 128,
    "num_key_value_heads": 128,
    "n_shared_experts": 1,
    "n_routed_experts": 256,
    "num_experts_per_tok": 8,
    "n_group": 8,
    "topk_group": 4,
    "topk_method": "noaux_tc",
    "scoring_func": "sigmoid",
    "norm_topk_prob": True,
    "routed_scaling_factor": 2.5,
    "moe_layer_freq": 1,
    "first_k_dense_replace": 3,
    "num_nextn_predict_layers": 1,
    "kv_lora_rank": 512,
    "q_lora_rank": 1536,
    "qk_rope_head_dim": 64,
    "qk_nope_head_dim": 128,
    "v_head_dim": 128,
    "max_position_embeddings": 163840,
    "vocab_size": 129280,
    "rope_theta": 10000,
}
DEEPSEEK_V2_LITE = {
    **{key: DEEPSEEK_V3[key] for key in DEEPSEEK_V3 if key != "num_nextn_predict_layers"},
    "architectures": ["DeepseekV2ForCausalLM"],
    "model_type": "deepseek_v2",
    "hidden_size": 2048,
    "intermediate_size": 10944,
    "moe_intermediate_size": 1408,
    "num_hidden_layers": 27,
    "num_attention_heads": 16,
    "num_key_value_heads": 16,
    "n_shared_experts": 2,
    "n_routed_experts": 64,
    "num_experts_per_tok": 6,
    "n_group": 1,
    "topk_group": 1,
    "topk_method": "greedy",
    "scoring_func": "softmax",
    "routed_scaling_factor": 1.0,
    "first_k_dense_replace": 1,
    "q_lora_rank": None,
}
BLOCK_FP8 = {
    "quant_method": "fp8",
    "fmt": "e4m3",
    "activation_scheme": "dynamic",
    "weight_block_size": [128, 128],
}
FP4 = {"num_bits": 4, "type": "float", "group_size": 16}
MODELOPT = {
    "quant_method": "modelopt",
    "quant_algo": "NVFP4",
    "kv_cache_scheme": None,
    "producer": {"name": "modelopt"},
    "config_groups": {"group_0": {"weights": FP4, "input_activations": FP4, "targets": ["Linear"]}},
    "ignore": ["lm_head"],
}
TENSOR_GROUP = FP4 | {"strategy": "tensor_group", "symmetric": True}
COMPRESSED_TENSORS = {
    "quant_method": "compressed-tensors",
    "format": "nvfp4-pack-quantized",
    "quantization_status": "compressed",
    "config_groups": {
        "group_0": {
            "format": "nvfp4-pack-quantized",
            "weights": TENSOR_GROUP,
            "input_activations": TENSOR_GROUP | {"dynamic": "local"},
            "targets": ["Linear"],
        }
    },
    "ignore": ["lm_head"],
}


@dataclass(frozen=True)
class StandIn:
    """A repository that has everything but weights. ``kind`` is what it stands for."""

    kind: str
    repo: str
    config: dict[str, Any] = field(repr=False)

    @property
    def files(self) -> dict[str, bytes]:
        """Contents by path."""
        tiny = MODELS["lab/tiny"]().files
        return {path: tiny[path] for path in TOKENIZER} | {
            "config.json": json.dumps(self.config, indent=1).encode()
        }


def quantized(config: dict[str, Any], how: dict[str, Any]) -> dict[str, Any]:
    """The same model with quantized weights."""
    return config | {"quantization_config": how}


STAND_INS = (
    StandIn("dense BF16", "Qwen/Qwen2.5-1.5B-Instruct", QWEN2_1_5B),
    StandIn("dense FP8", "RedHatAI/Llama-3.1-8B-FP8-block", quantized(LLAMA_8B, BLOCK_FP8)),
    StandIn("dense NVFP4, ModelOpt", "nvidia/Llama-3.1-8B-NVFP4", quantized(LLAMA_8B, MODELOPT)),
    StandIn("hybrid MoE FP8", "Qwen/Qwen3-Coder-Next-FP8", quantized(QWEN3_NEXT_80B, BLOCK_FP8)),
    StandIn("MoE NVFP4, ModelOpt", "nvidia/Qwen3-30B-A3B-NVFP4", quantized(QWEN3_30B, MODELOPT)),
    StandIn(
        "hybrid MoE NVFP4, compressed-tensors",
        "RedHatAI/Qwen3-Coder-Next-NVFP4",
        quantized(QWEN3_NEXT_80B, COMPRESSED_TENSORS),
    ),
    StandIn("hybrid Mamba 2 MoE", "nvidia/NVIDIA-Nemotron-3-Nano-30B-A3B-BF16", NEMOTRON_3_NANO),
    StandIn("sliding window", "google/gemma-3-1b-it", GEMMA3_1B),
    StandIn("MLA MoE", "deepseek-ai/DeepSeek-V2-Lite", DEEPSEEK_V2_LITE),
    StandIn("EAGLE-3 pair", "meta-llama/Llama-3.1-8B-Instruct", LLAMA_8B),
    StandIn("hybrid MoE with MTP", "Qwen/Qwen3-Next-80B-A3B-Instruct", QWEN3_NEXT_80B),
)
DRAFT = StandIn("EAGLE-3 draft", "RedHatAI/Llama-3.1-8B-Instruct-speculator.eagle3", LLAMA_EAGLE3)
DEEPSEEK = StandIn(
    "MLA MoE FP8 with MTP", "deepseek-ai/DeepSeek-V3", quantized(DEEPSEEK_V3, BLOCK_FP8)
)
SPECULATORS = {
    "meta-llama/Llama-3.1-8B-Instruct": {"method": "eagle3", "draft": DRAFT.repo},
    "Qwen/Qwen3-Next-80B-A3B-Instruct": {"method": "mtp"},
    "deepseek-ai/DeepSeek-V3": {"method": "mtp", "num_speculative_tokens": 1},
}


def write(hub: Path, models: Path) -> None:
    """Every repository in the layout of a Hub cache, and its lock in ``models``."""
    for stand_in in (*STAND_INS, DRAFT, DEEPSEEK):
        made = locked(stand_in)
        folder = hub / made.snapshot
        folder.mkdir(parents=True)
        for path, content in stand_in.files.items():
            (folder / path).write_bytes(content)
        (models / file_name(stand_in.repo)).write_text(lock.text(made))
    known = {repo: {"source": "a test", **how} for repo, how in SPECULATORS.items()}
    (models / "speculators.yaml").write_text(yaml.safe_dump(known))


def locked(stand_in: StandIn) -> ModelLock:
    """The lock of a stand-in; its commit is a digest of its files."""
    files = stand_in.files
    listed = [lock.Listed(path, len(files[path]), None, blob_id(files[path])) for path in files]
    commit = hashlib.sha1(
        "".join(file.blob for file in listed).encode(), usedforsecurity=False
    ).hexdigest()
    hashes = {path: hashlib.sha256(content).hexdigest() for path, content in files.items()}
    config = lock.kept_config(files["config.json"], None, stand_in.repo)
    listing = lock.Listing(commit, tuple(listed), gated=False, private=False)
    return lock.make(stand_in.repo, listing, hashes, config)
