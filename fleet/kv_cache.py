"""How large vLLM's KV cache is for a model: its own arithmetic, without vLLM. Pure.

After vLLM 0.33.0: v1/kv_cache_interface.py (a page), v1/core/kv_cache_planning.py (groups of
layers), platforms/interface.py ``_align_hybrid_block_size``. tests/vllm compares with that code.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil

from fleet.model_config import ModelConfig, Recurrent
from fleet.problems import SettingsError

BLOCK = 16  # tokens; what vLLM's attention backends on (12, 1) start from
_BYTES = {"float32": 4, "float": 4, "bfloat16": 2, "float16": 2, "half": 2}
_BYTES |= {"fp8": 1, "fp8_e4m3": 1, "fp8_e5m2": 1}
_NEARLY_EQUAL = 1.5  # kinds of layers closer in number than this share one group size


@dataclass(frozen=True)
class Demand:
    """What decides the cache of one rank."""

    config: ModelConfig
    kv_dtype: str = "auto"
    tensor: int = 1
    pipeline: int = 1
    speculative_tokens: int = 0
    own_draft_layers: int = 0
    draft: ModelConfig | None = None
    prefix_caching: bool = True
    in_flight_tokens: int = 0
    block: int = BLOCK


@dataclass(frozen=True)
class Layout:
    """The cache of one rank: groups of ``layers`` layers that share tables of blocks."""

    block_tokens: int
    page_bytes: int
    layers: int
    full_groups: int
    sliding_groups: int
    recurrent_groups: int
    recurrent_blocks: int
    window_tokens: int
    draft_token_bytes: int

    @property
    def block_bytes(self) -> int:
        """One block in all layers of a group, bytes."""
        return self.page_bytes * self.layers + self.draft_token_bytes * self.block_tokens

    @property
    def token_bytes(self) -> float:
        """What one more token of a long sequence adds, bytes."""
        return self.full_groups * self.block_bytes / self.block_tokens

    def blocks(self, tokens: int) -> int:
        """Blocks that one sequence of ``tokens`` holds at most."""
        seen = ceil(min(self.window_tokens, tokens) / self.block_tokens) + 1
        full = self.full_groups * ceil(tokens / self.block_tokens)
        return full + self.sliding_groups * seen + self.recurrent_groups * self.recurrent_blocks

    def sequence_bytes(self, tokens: int) -> int:
        """One sequence of ``tokens``, bytes."""
        return self.blocks(tokens) * self.block_bytes

    def sequences(self, cache_bytes: int, tokens: int) -> float:
        """Sequences of ``tokens`` that fit at once; what vLLM logs as maximum concurrency."""
        return max(0, cache_bytes // self.block_bytes) / self.blocks(tokens)

    def longest(self, cache_bytes: int, most: int) -> int:
        """The longest single sequence, up to ``most`` tokens; 0 if none. One block is kept back."""
        low, high = 0, most
        while low < high:
            middle = (low + high + 1) // 2
            fits = (self.blocks(middle) + 1) * self.block_bytes <= cache_bytes
            low, high = (middle, high) if fits else (low, middle - 1)
        return low


def layout(demand: Demand) -> Layout:
    """How the cache of ``demand`` is laid out; SettingsError where that cannot be derived."""
    config = demand.config
    if config.layers.unknown:
        raise SettingsError(
            f"{config.architecture}: {config.layers.unknown} layers cache in an unknown way"
        )
    full, sliding, recurrent = (_stage(count, demand) for count in _layers(config, demand))
    token = _token_bytes(config, demand)
    state = _state_bytes(config.recurrent, config, demand) if recurrent else 0
    block = _block_tokens(demand.block, token, state)
    size = _group_size([count for count in (full, sliding, recurrent) if count])
    return Layout(
        block_tokens=block,
        page_bytes=max(block * token, state),
        layers=size,
        full_groups=ceil(full / size),
        sliding_groups=ceil(sliding / size),
        recurrent_groups=ceil(recurrent / size),
        recurrent_blocks=(2 if demand.prefix_caching else 1) + demand.speculative_tokens,
        window_tokens=(config.sliding_window or 1) - 1 + demand.in_flight_tokens,
        draft_token_bytes=_draft_bytes(demand),
    )


def _layers(config: ModelConfig, demand: Demand) -> tuple[int, int, int]:
    own = config.layers
    return own.full + demand.own_draft_layers, own.sliding, own.recurrent


def _stage(layers: int, demand: Demand) -> int:
    """Layers of one pipeline stage, the largest."""
    return ceil(layers / demand.pipeline)


def _token_bytes(config: ModelConfig, demand: Demand) -> int:
    """One token in one layer, on one rank. Latent attention is not split over ranks."""
    size = dtype_bytes(config, demand.kv_dtype)
    if config.latent:
        return (config.latent.kv_lora_rank + config.latent.rope_head_dim) * size
    return 2 * max(1, config.kv_heads // demand.tensor) * config.head_dim * size


def dtype_bytes(config: ModelConfig, kv_dtype: str) -> int:
    """Bytes of one number in the cache; ``auto`` follows the checkpoint."""
    if kv_dtype == "auto":
        quantized = config.quantization and config.quantization.kv_cache
        kv_dtype = "fp8" if quantized and "8" in quantized else config.dtype or "bfloat16"
    if kv_dtype not in _BYTES:
        raise SettingsError(f"kv-cache-dtype: found {kv_dtype!r}, its size is not known here")
    return _BYTES[kv_dtype]


def _state_bytes(state: Recurrent | None, config: ModelConfig, demand: Demand) -> int:
    """The state of one sequence in one recurrent layer, on one rank."""
    if state is None:
        raise SettingsError(
            f"{config.architecture}: the state of its recurrent layers is not known"
        )
    model = dtype_bytes(config.model_copy(update={"quantization": None}), "auto")
    window = state.conv_kernel - 1 + demand.speculative_tokens
    conv = state.conv_channels // demand.tensor * window * model
    temporal = _BYTES[state.state_dtype] if state.state_dtype else model
    return conv + state.state_elements // demand.tensor * temporal


def _block_tokens(block: int, token: int, state: int) -> int:
    """Tokens of a block: at least as many as make a page that holds a recurrent state."""
    return max(block, block * ceil(state / (block * token)))


def _group_size(counts: list[int]) -> int:
    """Layers that share a table of blocks: those of the rarest kind, unless all are as frequent."""
    if not counts:
        raise SettingsError("no layer of the model has a KV cache")
    least, most = min(counts), max(counts)
    return most if most < least * _NEARLY_EQUAL else least


def _draft_bytes(demand: Demand) -> int:
    """A draft model's own layers: bytes a token, in all of them. Drafts run on one rank's GPU."""
    if demand.draft is None:
        return 0
    layers = demand.draft.layers.full + demand.draft.layers.sliding
    return layers * _token_bytes(demand.draft, demand)
