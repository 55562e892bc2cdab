"""What a model's config.json says about memory and kinds of layers. Pure.

The text comes from the Hub and is not trusted: every value is checked for type and range, and
what is not understood is left out or counted as unknown, never guessed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field

from fleet.problems import SettingsError, shown
from fleet.strict import Strict
from fleet.untrusted import Reader, mapping

Count = Annotated[int, Field(ge=1, le=1 << 40)]
Counted = Annotated[int, Field(ge=0, le=100_000)]
Word = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.+-]{0,99}$")]
StateType = Literal["float32", "bfloat16", "float16"]

MODELOPT = "hf_quant_config"  # the key under which a lock keeps hf_quant_config.json

_KINDS = {
    "full_attention": "full",
    "attention": "full",
    "sliding_attention": "sliding",
    "linear_attention": "recurrent",
    "mamba": "recurrent",
    "mlp": "none",
    "moe": "none",
}
_PATTERN_KINDS = {"*": "full", "M": "recurrent", "-": "none", "E": "none"}  # Nemotron-H
# Sizes that are not those of every layer, and layers that have no cache of their own.
UNEVEN = (
    *("global_head_dim", "num_global_key_value_heads", "num_kv_shared_layers"),
    *("swa_num_key_value_heads",),
)
_UNEVEN_TYPES = ("gemma3n", "gemma4")  # whose defaults are uneven, too


class Quantization(Strict):
    """How the weights are stored: ``quantization_config``, or ModelOpt's hf_quant_config.json."""

    method: Word
    algorithm: Word | None = None
    kv_cache: Word | None = None


class Latent(Strict):
    """Multi-head latent attention: one vector a token and layer, the same on every rank."""

    kv_lora_rank: Count
    rope_head_dim: Count


class Recurrent(Strict):
    """A layer whose state does not grow with the context: elements a sequence, for one layer."""

    kind: Literal["gated-delta-net", "mamba2"]
    conv_channels: Count
    conv_kernel: Count
    state_elements: Count
    state_dtype: StateType | None = None


class Layers(Strict):
    """How many layers cache in which way; ``unknown`` means that memory cannot be derived."""

    full: Counted = 0
    sliding: Counted = 0
    recurrent: Counted = 0
    unknown: Counted = 0


class ModelConfig(Strict):
    """The parts of config.json that decide memory, modes and what cannot work together."""

    architecture: Word
    model_type: Word
    dtype: Word | None = None
    context: Count | None = Field(default=None, description="max_position_embeddings, in tokens")
    hidden_size: Count
    vocab_size: Count
    heads: Count
    kv_heads: Count
    head_dim: Count
    layers: Layers
    sliding_window: Count | None = Field(default=None, description="tokens a sliding layer sees")
    latent: Latent | None = None
    recurrent: Recurrent | None = None
    experts: Count | None = Field(default=None, description="routed experts; none: dense")
    experts_per_token: Count | None = None
    expert_size: Count | None = Field(default=None, description="moe_intermediate_size")
    intermediate_size: Count | None = None
    mtp_layers: Counted = Field(default=0, description="layers that predict further tokens")
    quantization: Quantization | None = None


def read_config(config: object, place: str) -> ModelConfig:
    """The ``config`` of a lock (see fleet.lock) as facts; SettingsError is one line.

    A multimodal model's language part is under ``text_config``.
    """
    top = mapping(config, place)
    text = {**top, **mapping(top.get("text_config") or {}, f"{place}: text_config")}
    reader = Reader(text, place)
    heads = reader.need("num_attention_heads")
    hidden = reader.need("hidden_size")
    latent = _latent(reader)
    layers = _layers(reader, latent)
    experts = reader.first("num_experts", "n_routed_experts", "num_local_experts")
    return ModelConfig(
        architecture=_architecture(top, place),
        model_type=reader.word("model_type") or "unknown",
        dtype=reader.word("dtype") or reader.word("torch_dtype"),
        context=reader.whole("max_position_embeddings"),
        hidden_size=hidden,
        vocab_size=reader.need("vocab_size"),
        heads=heads,
        kv_heads=reader.whole("num_key_value_heads") or heads,
        head_dim=reader.whole("head_dim") or max(1, hidden // heads),
        layers=layers,
        sliding_window=reader.whole("sliding_window") if layers.sliding else None,
        latent=latent,
        recurrent=_recurrent(reader) if layers.recurrent else None,
        experts=experts,
        experts_per_token=reader.whole("num_experts_per_tok") if experts else None,
        expert_size=reader.whole("moe_intermediate_size") if experts else None,
        intermediate_size=reader.whole("intermediate_size"),
        mtp_layers=reader.first("num_nextn_predict_layers", "mtp_num_hidden_layers") or 0,
        quantization=_quantization(top, place),
    )


def _architecture(config: Mapping[str, Any], place: str) -> str:
    names = config.get("architectures")
    first = names[0] if isinstance(names, list) and names else None
    name = Reader({"architectures": first}, place).word("architectures")
    if name is None:
        raise SettingsError(
            f"{place}: architectures: found {shown(names)}, allowed: a list of names"
        )
    return name


def _latent(reader: Reader) -> Latent | None:
    rank, rope = reader.whole("kv_lora_rank"), reader.whole("qk_rope_head_dim")
    return Latent(kv_lora_rank=rank, rope_head_dim=rope) if rank and rope else None


def _layers(reader: Reader, latent: Latent | None) -> Layers:
    total = reader.first("num_hidden_layers")
    pattern = reader.values.get("hybrid_override_pattern")
    named = reader.values.get("layer_types") or reader.values.get("layers_block_type")
    if isinstance(pattern, str) and len(pattern) <= 10_000:
        kinds = [_PATTERN_KINDS.get(letter, "unknown") for letter in pattern]
    elif isinstance(named, list) and len(named) <= 10_000:
        kinds = [_KINDS.get(str(name), "unknown") for name in named]
    elif total is None:
        raise reader.wrong("num_hidden_layers", None, "a whole number")
    else:
        kinds = _unnamed(reader, total)
    # A sparse model keeps a second cache for its indexer, which is not derived here.
    if reader.whole("index_head_dim") or _uneven(reader):
        kinds = ["unknown"] * len(kinds)
    if "recurrent" in kinds and _recurrent(reader) is None:
        kinds = ["unknown" if kind == "recurrent" else kind for kind in kinds]
    return Layers(
        **{kind: kinds.count(kind) for kind in ("full", "sliding", "recurrent", "unknown")}
    )


def _uneven(reader: Reader) -> bool:
    """Whether layers cache in different sizes, which is not derived here (models/gemma4.py,
    models/gemma3n.py and models/mimo_v2.py of vLLM 0.33)."""
    kind = reader.word("model_type") or ""
    return kind.startswith(_UNEVEN_TYPES) or any(reader.whole(key) for key in UNEVEN)


def _unnamed(reader: Reader, total: int) -> list[str]:
    """Layer kinds of a config that does not list them."""
    if interval := reader.whole("full_attention_interval", most=total):
        return ["full" if (i + 1) % interval == 0 else "recurrent" for i in range(total)]
    if interval := reader.whole("sliding_window_pattern", most=10_000):
        return ["full" if (i + 1) % interval == 0 else "sliding" for i in range(total)]
    slides = reader.whole("sliding_window") and reader.values.get("use_sliding_window", True)
    return ["sliding" if slides else "full"] * total


def _recurrent(reader: Reader) -> Recurrent | None:
    """State sizes as in vllm/model_executor/layers/mamba/mamba_utils.py of 0.33.0."""
    value_heads = reader.whole("linear_num_value_heads")
    if value_heads:
        keys = reader.need("linear_num_key_heads") * reader.need("linear_key_head_dim")
        values = value_heads * reader.need("linear_value_head_dim")
        return Recurrent(
            kind="gated-delta-net",
            conv_channels=2 * keys + values,
            conv_kernel=reader.need("linear_conv_kernel_dim"),
            state_elements=values * reader.need("linear_key_head_dim"),
            state_dtype=_state_dtype(reader, "mamba_ssm_dtype", None),
        )
    heads = reader.whole("mamba_num_heads")
    if not heads or not reader.whole("ssm_state_size") or not reader.whole("n_groups"):
        return None
    inner = heads * reader.need("mamba_head_dim")
    return Recurrent(
        kind="mamba2",
        conv_channels=inner + 2 * reader.need("n_groups") * reader.need("ssm_state_size"),
        conv_kernel=reader.need("conv_kernel"),
        state_elements=inner * reader.need("ssm_state_size"),
        state_dtype=_state_dtype(reader, "mamba_ssm_cache_dtype", "float32"),
    )


def _state_dtype(reader: Reader, key: str, default: StateType | None) -> StateType | None:
    value = reader.word(key)
    if value is None:
        return default
    if value not in ("float32", "bfloat16", "float16"):
        raise reader.wrong(key, value, "float32, bfloat16, float16")
    return value  # type: ignore[return-value]


def _quantization(top: Mapping[str, Any], place: str) -> Quantization | None:
    """ModelOpt's own file wins: a checkpoint that has it may leave config.json silent."""
    if top.get(MODELOPT) is not None:
        theirs = mapping(top[MODELOPT], f"{place}: {MODELOPT}")
        inner = mapping(theirs.get("quantization") or {}, f"{place}: {MODELOPT}")
        reader = Reader(inner, f"{place}: {MODELOPT}")
        algorithm, cache = reader.word("quant_algo"), reader.word("kv_cache_quant_algo")
        return Quantization(method="modelopt", algorithm=algorithm, kv_cache=cache)
    text = mapping(top.get("text_config") or {}, place)
    raw = top.get("quantization_config") or text.get("quantization_config")
    if not raw:
        return None
    reader = Reader(mapping(raw, f"{place}: quantization_config"), f"{place}: quantization_config")
    method = reader.word("quant_method")
    if method is None:
        raise reader.wrong("quant_method", None, "one word")
    scheme = reader.values.get("kv_cache_scheme")
    return Quantization(
        method=method,
        algorithm=reader.word("quant_algo") or reader.word("format") or reader.word("fmt"),
        kv_cache="fp8" if isinstance(scheme, dict) and scheme.get("num_bits") == 8 else None,
    )
