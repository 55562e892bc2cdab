"""What is known of vLLM's argument and variable names. Data; the image's own parser judges last."""

from __future__ import annotations

import json
from pathlib import Path

OWNED = {
    "model": "vllm_model names it",
    "model-tag": "vllm_model names it",
    "config": "the release is the config file",
    "revision": "the model's lock pins it",
    "code-revision": "the model's lock pins it",
    "tokenizer-revision": "the model's lock pins it",
    "hf-token": "hf_token_file names the file that holds it",
    "download-dir": "models_dir names it",
    "served-model-name": "served_name sets it",
    "host": "listen sets it",
    "port": "port sets it",
    "uds": "listen and port say where the server answers",
    "api-key": "a key in arguments can be read by every user of the host",
    "shutdown-timeout": "the mode's drain_timeout_s sets it",
    "gpu-memory-utilization": "memory_fraction sets it",
    "tensor-parallel-size": "tensor_parallel sets it",
    "pipeline-parallel-size": "pipeline_parallel sets it",
    "data-parallel-size": "data_parallel sets it",
    "data-parallel-size-local": "the replica decides it",
    "data-parallel-rank": "the replica decides it",
    "data-parallel-start-rank": "the replica decides it",
    "data-parallel-address": "the replica decides it",
    "data-parallel-rpc-port": "the replica decides it",
    "nnodes": "the replica decides it",
    "node-rank": "the replica decides it",
    "master-addr": "the replica decides it",
    "master-port": "the replica decides it",
    "headless": "the replica decides it",
}
"""Arguments this tool writes itself, and what to use in their place."""

GONE = {
    "speculative-model": "speculative-config: {method: …, model: …, num_speculative_tokens: …}",
    "num-speculative-tokens": "speculative-config: {num_speculative_tokens: …}",
    "swap-space": "nothing, the V1 engine recomputes instead of swapping",
    "num-scheduler-steps": "nothing, the V1 engine has no multi-step scheduling",
    "use-v2-block-manager": "nothing, there is one block manager",
    "max-seq-len-to-capture": "max-cudagraph-capture-size",
    "cuda-graph-sizes": "cudagraph-capture-sizes",
    "guided-decoding-backend": "structured-outputs-config: {backend: …}",
    "task": "runner",
}
"""Arguments vLLM 0.33 exits on (2), measured with its parser; and what replaced them."""

GONE_ENV = {
    "VLLM_USE_V1": "nothing, V1 is the only engine",
    "VLLM_ENABLE_ASYNC_SCHEDULING": "vllm_args async-scheduling (on by default)",
    "VLLM_TORCH_COMPILE": "vllm_args optimization-level (default 2)",
    "VLLM_ENABLE_NVFP4": "nothing, the checkpoint says it is NVFP4",
    "VLLM_NVFP4_GEMM_BACKEND": "vllm_args linear-backend or moe-backend",
    "VLLM_USE_FLASHINFER_MOE_FP4": "vllm_args moe-backend",
    "VLLM_ATTENTION_BACKEND": "vllm_args attention-backend",
    "VLLM_PREFIX_CACHING": "vllm_args enable-prefix-caching (on by default)",
    "VLLM_MEMORY_FRACTION": "memory_fraction",
}
"""Variables vLLM 0.33 does not know (a warning, no effect), and what does the job."""

OWNED_ENV = {
    "HF_HOME": "models_dir sets it",
    "HF_HUB_CACHE": "models_dir sets it",
    "HF_HUB_OFFLINE": "the server reads only what was staged",
    "TRANSFORMERS_OFFLINE": "the server reads only what was staged",
    "VLLM_CACHE_ROOT": "the release mounts the cache",
    "TRITON_CACHE_DIR": "the release mounts the cache",
    "FLASHINFER_WORKSPACE_BASE": "the release mounts the cache",
    "TORCHINDUCTOR_CACHE_DIR": "the release mounts the cache",
    "VLLM_ENGINE_READY_TIMEOUT_S": "the mode's ready_timeout_s sets it",
    "VLLM_PORT": "port says where the server answers",
    "VLLM_HOST_IP": "the replica decides it",
    "VLLM_DP_RANK": "the replica decides it",
    "VLLM_DP_SIZE": "data_parallel sets it",
}
"""Variables this tool writes itself, and what to use in their place."""

_KNOWN = json.loads((Path(__file__).parent / "vllm_flags.json").read_text())
VERSION: str = _KNOWN["version"]
SWITCHES = frozenset[str](_KNOWN["switches"])
"""``--x`` that also have ``--no-x``: only these may be false."""
KNOWN = SWITCHES | {f"no-{name}" for name in SWITCHES} | {*_KNOWN["flags"], *_KNOWN["values"]}
"""Every long argument of ``vllm serve`` in VERSION, as its own parser lists them."""
