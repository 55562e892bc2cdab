"""What vLLM's log says of the engine it starts, in 0.32's words and from the arguments."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

SPECULATION = "SpeculativeConfig(method={method!r}, model={model!r}, num_spec_tokens={tokens})"


def engine_line(
    found: Mapping[str, Any], config: Mapping[str, Any], length: int, lies: Mapping[str, str]
) -> str:
    """The fields of the engine's line that tell how a server runs; ``lies`` replaces some."""
    fields = {**_fields(found, config, length), **lies}
    return ", ".join(f"{name}={value}" for name, value in fields.items())


def _fields(
    found: Mapping[str, Any], config: Mapping[str, Any], length: int
) -> dict[str, str | int | bool]:
    eager = bool(found.get("enforce-eager"))
    compilation = found.get("compilation-config") or {}
    named = compilation.get("cudagraph_mode", "FULL_AND_PIECEWISE")
    graphs = "NONE" if eager else named
    dtype = found.get("dtype") or "auto"
    names = found.get("served-model-name") or [found["model"]]
    return {
        "model": repr(found["model"]),
        "speculative_config": _speculation(found.get("speculative-config")),
        "trust_remote_code": bool(found.get("trust-remote-code")),
        "dtype": f"torch.{config.get('dtype', 'bfloat16') if dtype == 'auto' else dtype}",
        "max_seq_len": length,
        "quantization": str(found.get("quantization") or _checkpoint(config)),
        "enforce_eager": eager,
        "kv_cache_dtype": str(found["kv-cache-dtype"]),
        "served_model_name": names[0],
        "enable_prefix_caching": found.get("enable-prefix-caching", True),
        "compilation_config": f"{{'cudagraph_mode': <CUDAGraphMode.{graphs}: 0>}}",
    }


def _checkpoint(config: Mapping[str, Any]) -> object:
    quantization = config.get("quantization_config")
    return quantization.get("quant_method") if isinstance(quantization, dict) else None


def _speculation(config: Mapping[str, Any] | None) -> str:
    if not config:
        return "None"
    tokens = config.get("num_speculative_tokens")
    return SPECULATION.format(method=config.get("method"), model=config.get("model"), tokens=tokens)


def kernel_lines(found: Mapping[str, Any]) -> Iterator[str]:
    """The kernels that were asked for, as they are told once they are chosen."""
    if backend := found.get("attention-backend"):
        yield f"Using {str(backend).upper()} backend."
    if backend := found.get("moe-backend"):
        name = str(backend).upper()
        yield f"Using '{name}' NvFp4 MoE backend out of potential backends: ['{name}']."
