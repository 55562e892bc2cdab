"""What a release claims of its running server, so that the host can hold the server to it. Pure.

A claim is a name and the values that keep it; ``files/observation.py`` finds what the server says
under the same names. Only what a mode, a lock or the settings decide is claimed: what is left to
vLLM is not.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from fleet import speculators
from fleet.combine import whole_number
from fleet.model_config import ModelConfig

Values = list[str | int | float | bool]
Arguments = Mapping[str, Any]

GRAPHS = ["PIECEWISE", "FULL", "FULL_DECODE_ONLY", "FULL_AND_PIECEWISE"]
NO_GRAPHS = "NONE"
MLA_ON_12 = ["TRITON_MLA", "FLASHINFER_MLA_SPARSE_SM120", "FLASHINFER_MLA_SPARSE_DSV4"]
# vLLM's names for the formats of checkpoints (quantization/__init__.py and its overrides, 0.33).
_QUANTIZATIONS = {
    "compressed-tensors": ["compressed-tensors"],
    "fp8": ["fp8", "deepseek_v4_fp8"],
    "fbgemm_fp8": ["fbgemm_fp8"],
    "mxfp4": ["mxfp4", "gpt_oss_mxfp4"],
    "modelopt": ["modelopt", "modelopt_fp4", "modelopt_mxfp8", "modelopt_mixed"],
    "awq": ["awq", "auto_awq", "awq_marlin"],
    "gptq": ["gptq", "auto_gptq", "gptq_marlin"],
    "auto-round": ["inc"],  # quantization/inc/inc.py
}


def mode_claims(arguments: Arguments, config: ModelConfig | None) -> dict[str, Values]:
    """The claims of one server by name. ``arguments`` are vLLM's, a switch turned off is False;
    ``config`` is what the model's lock says of it, None where it says nothing."""
    found = {name: claim(arguments) for name, claim in _FROM_ARGUMENTS.items()}
    found |= {
        "quantization": _quantization(arguments, config),
        "attention_backend": _attention(arguments, config),
        "kernel_fallback": ["none", *_named_fallbacks(arguments)],
    }
    return {name: values for name, values in sorted(found.items()) if values}


def _context(arguments: Arguments) -> Values:
    length = whole_number(arguments.get("max-model-len"))
    return [length] if length else []


def _kv_cache_dtype(arguments: Arguments) -> Values:
    """fp8 is e4m3 on NVIDIA; sparse MLA models store it in a layout of their own."""
    dtype = arguments.get("kv-cache-dtype", "auto")
    if dtype == "auto":
        return []
    return ["fp8", "fp8_e4m3", "fp8_ds_mla"] if dtype == "fp8" else [str(dtype)]


def _dtype(arguments: Arguments) -> Values:
    dtype = str(arguments.get("dtype", "auto"))
    return [] if dtype == "auto" else [{"half": "float16", "float": "float32"}.get(dtype, dtype)]


def _prefix_caching(arguments: Arguments) -> Values:
    wish = arguments.get("enable-prefix-caching")
    return [wish] if isinstance(wish, bool) else []


def _memory_fraction(arguments: Arguments) -> Values:
    fraction = arguments.get("gpu-memory-utilization")
    return [] if fraction is None or _cache_bytes(arguments) else [float(fraction)]


def _cache_bytes(arguments: Arguments) -> Values:
    size = whole_number(arguments.get("kv-cache-memory-bytes"))
    return [size] if size else []


def _trust(arguments: Arguments) -> Values:
    return [arguments.get("trust-remote-code") is True]


def _eager(arguments: Arguments) -> Values:
    return [arguments.get("enforce-eager") is True]


def _graphs(arguments: Arguments) -> Values:
    """CUDA graphs: none, the kind that is named, or any kind where vLLM may choose."""
    if arguments.get("enforce-eager") is True:
        return [NO_GRAPHS]
    compilation = arguments.get("compilation-config")
    named = compilation.get("cudagraph_mode") if isinstance(compilation, dict) else None
    if isinstance(named, str):
        return [named.upper()]
    untold = not isinstance(compilation, dict) or not {"mode", "level"} & set(compilation)
    return list(GRAPHS) if untold and arguments.get("optimization-level", 2) in (1, 2, 3) else []


def _moe(arguments: Arguments) -> Values:
    backend = str(arguments.get("moe-backend", "auto")).lower().replace("-", "_")
    return [] if backend == "auto" else [backend]


def _linear(arguments: Arguments) -> Values:
    backend = str(arguments.get("linear-backend", "auto")).lower().replace("-", "_")
    return [] if backend == "auto" else [backend]


def _speculation(arguments: Arguments) -> Values:
    config = arguments.get("speculative-config")
    if not isinstance(config, dict):
        return ["none"]
    method, tokens = speculators.method(config), config.get("num_speculative_tokens")
    return [f"{method}:{tokens}"] if method and tokens else []


def _accepted(arguments: Arguments) -> Values:
    return [True] if isinstance(arguments.get("speculative-config"), dict) else []


def _quantization(arguments: Arguments, config: ModelConfig | None) -> Values:
    """A format that the arguments name, else that of the checkpoint."""
    if named := arguments.get("quantization"):
        return [str(named)]
    if config is None:
        return []
    if config.quantization is None:
        return ["none"]
    # As transformers_utils/model_arch_config_convertor.py writes it.
    method = config.quantization.method.lower().replace("compressed_tensors", "compressed-tensors")
    return [*_QUANTIZATIONS.get(method, [method])]


def _attention(arguments: Arguments, config: ModelConfig | None) -> Values:
    nested = arguments.get("attention-config")
    inner = nested.get("backend") if isinstance(nested, dict) else None
    if named := arguments.get("attention-backend") or inner:
        return [str(named).upper()]
    return [*MLA_ON_12] if config and config.latent else []


def _named_fallbacks(arguments: Arguments) -> Values:
    """A slow kernel that is asked for by its name is no silent fallback."""
    named = {*_moe(arguments), *_linear(arguments)}
    return [kernel for kernel in ("marlin", "emulation") if kernel in named]


_FROM_ARGUMENTS: dict[str, Callable[[Arguments], Values]] = {
    "cudagraph_mode": _graphs,
    "dtype": _dtype,
    "enforce_eager": _eager,
    "gpu_memory_utilization": _memory_fraction,
    "kv_cache_dtype": _kv_cache_dtype,
    "kv_cache_memory_bytes": _cache_bytes,
    "linear_backend": _linear,
    "max_model_len": _context,
    "moe_backend": _moe,
    "prefix_caching": _prefix_caching,
    "speculation": _speculation,
    "speculation_accepts": _accepted,
    "trust_remote_code": _trust,
}
