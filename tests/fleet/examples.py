"""Host data, models and locks that tests of settings start from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from fleet import models, modes, settings
from fleet.replicas import Rank
from fleet.serving import Catalogue

COMMIT, SHA, FINGERPRINT = "a" * 40, "b" * 64, "C" * 40
GIB = 1 << 30
DATA: dict[str, Any] = {
    "vllm_mode": "standard",
    "vllm_model": "org/dense",
    "vllm_image": "registry.example:5000/vllm@sha256:" + "c" * 64,
    "driver_version": "580.159.03",
    "kernel_version": "6.17.0-1032.32",
    "kernel_modules_version": "6.17.0-1032.32",
    "toolkit_version": "1.20.0-1",
    "docker_version": "5:29.8.0-1~ubuntu.24.04~noble",
    "containerd_version": "2.3.5-1~ubuntu.24.04~noble",
    "compose_version": "5.5.1-1~ubuntu.24.04~noble",
    "nvidia_key_fingerprint": FINGERPRINT,
    "toolkit_key_fingerprint": FINGERPRINT,
    "docker_key_fingerprint": FINGERPRINT,
}
DENSE: dict[str, Any] = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "dtype": "bfloat16",
    "hidden_size": 4096,
    "intermediate_size": 14336,
    "vocab_size": 128256,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "head_dim": 128,
    "max_position_embeddings": 131072,
}
FP8 = {"quant_method": "fp8", "weight_block_size": [128, 128]}
NVFP4 = {"quant_method": "modelopt", "quant_algo": "NVFP4"}
CT_NVFP4 = {"quant_method": "compressed-tensors", "format": "nvfp4-pack-quantized"}
MOE = {"num_experts": 128, "num_experts_per_tok": 8, "moe_intermediate_size": 768}
MLA: dict[str, Any] = {
    **DENSE,
    "architectures": ["DeepseekV2ForCausalLM"],
    "model_type": "deepseek_v2",
    "hidden_size": 2048,
    "num_hidden_layers": 27,
    "num_attention_heads": 16,
    "num_key_value_heads": 16,
    "kv_lora_rank": 512,
    "qk_rope_head_dim": 64,
    "n_routed_experts": 64,
    "num_experts_per_tok": 6,
    "moe_intermediate_size": 1408,
}
MODELS: dict[str, dict[str, Any]] = {
    "org/dense": DENSE,
    "org/dense-fp8": {**DENSE, "quantization_config": FP8},
    "org/dense-nvfp4": {**DENSE, "quantization_config": NVFP4},
    "org/dense-ct-nvfp4": {**DENSE, "quantization_config": CT_NVFP4},
    "org/moe-nvfp4": {**DENSE, **MOE, "quantization_config": NVFP4},
    "org/mla": MLA,
    "org/short": {**DENSE, "max_position_embeddings": 8192},
    "org/draft": {**DENSE, "num_hidden_layers": 1, "architectures": ["LlamaForCausalLMEagle3"]},
    "org/tiny": {**DENSE, "num_hidden_layers": 2, "num_key_value_heads": 1, "head_dim": 32},
    "org/silent": {},
}
SPECULATORS = {
    "org/dense": {
        "method": "eagle3",
        "draft": "org/draft",
        "num_speculative_tokens": 3,
        "source": "test",
    },
    "org/moe-nvfp4": {
        "method": "mtp",
        "num_speculative_tokens": 3,
        "options": {"moe_backend": "triton"},
        "source": "test",
    },
    "org/short": {"method": "eagle3", "draft": "else/absent", "source": "test"},
}


def lock(repo: str, config: dict[str, Any], gib: float = 16) -> dict[str, Any]:
    """A lock of ``repo`` with one file of ``gib`` GiB of weights."""
    files = [
        {"path": "config.json", "size": 700, "sha256": SHA},
        {"path": "model.safetensors", "size": round(gib * GIB), "sha256": SHA},
    ]
    return {"repo": repo, "revision": COMMIT, "files": files, "config": config}


def catalogue(folder: Path) -> Catalogue:
    """The real modes, and the models above under ``folder``."""
    for repo, config in MODELS.items():
        path = folder / models.file_name(repo)
        path.write_text(yaml.safe_dump(lock(repo, config)))
    (folder / "speculators.yaml").write_text(yaml.safe_dump(SPECULATORS))
    return Catalogue(modes=modes.MODES, models=folder)


def where(key: str) -> str:
    """All keys come from one file."""
    return "group_data/all.py"


def ranks(hosts: int, fabric: tuple[str, ...] = ()) -> tuple[Rank, ...]:
    """A replica of so many hosts; none where it is one."""
    names = range(1, hosts + 1) if hosts > 1 else ()
    return tuple(Rank(host=f"spark-0{n}", address=f"192.0.2.{n}", fabric=fabric) for n in names)


def load(files: Catalogue, gpus: int = 1, **data: object) -> settings.Settings:
    """Settings of a host that has ``data`` over DATA."""
    return settings.load("spark-01", {**DATA, **data}, where, ranks=ranks(gpus), catalogue=files)


def problems(files: Catalogue, gpus: int = 1, **data: object) -> list[str]:
    """What is wrong with ``data`` over DATA; empty where it loads."""
    try:
        load(files, gpus, **data)
    except settings.SettingsError as error:
        return list(error.problems)
    return []
