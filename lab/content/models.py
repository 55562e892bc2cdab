"""The lab's model repositories, lab/tiny and lab/sharded: all files, the same bytes every time."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache, cached_property

from lab.content.llama import (
    BOS,
    EOS,
    NOISE,
    PAD,
    SPECIAL,
    VOCABULARY,
    Shape,
    parts,
    safetensors,
    vocabulary,
)

CHAT_TEMPLATE = (
    "{% for m in messages %}{{ m['role'] }}: {{ m['content'] }}\n{% endfor %}assistant: "
)
ATTRIBUTES = "*.safetensors filter=lfs diff=lfs merge=lfs -text\n"


@dataclass(frozen=True)
class HubRepo:
    """A model repository at its one commit."""

    name: str
    files: Mapping[str, bytes]
    gated: bool = False
    private: bool = False

    @cached_property
    def commit(self) -> str:
        """40 hex digits over names and contents."""
        lines = [f"{blob_id(self.files[path])} {path}\n" for path in sorted(self.files)]
        return hashlib.sha1("".join(lines).encode(), usedforsecurity=False).hexdigest()

    def in_lfs(self, path: str) -> bool:
        """Whether the Hub keeps this file in LFS."""
        return path.endswith(".safetensors")


def blob_id(content: bytes) -> str:
    """git's name of a file's content."""
    head = b"blob %d\0" % len(content)
    return hashlib.sha1(head + content, usedforsecurity=False).hexdigest()


def pretty(value: object) -> bytes:
    """JSON as people write it into a repository."""
    return (json.dumps(value, indent=2, ensure_ascii=False, sort_keys=True) + "\n").encode()


def config(shape: Shape) -> dict[str, object]:
    """config.json."""
    return {
        "architectures": ["LlamaForCausalLM"],
        "attention_bias": False,
        "attention_dropout": 0.0,
        "bos_token_id": BOS,
        "dtype": "float32",
        "eos_token_id": EOS,
        "head_dim": shape.head,
        "hidden_act": "silu",
        "hidden_size": shape.hidden,
        "initializer_range": NOISE,
        "intermediate_size": shape.intermediate,
        "max_position_embeddings": shape.context,
        "mlp_bias": False,
        "model_type": "llama",
        "num_attention_heads": shape.heads,
        "num_hidden_layers": shape.layers,
        "num_key_value_heads": shape.kv_heads,
        "pad_token_id": PAD,
        "rms_norm_eps": 1e-06,
        "rope_parameters": {"rope_theta": 10000.0, "rope_type": "default"},
        "tie_word_embeddings": False,
        "use_cache": True,
        "vocab_size": VOCABULARY,
    }


def tokenizer() -> dict[str, object]:
    """tokenizer.json: byte-level BPE without merges, so prompts are one token a byte."""
    added = [
        {"id": number, "content": token, "single_word": False, "lstrip": False, "rstrip": False}
        | {"normalized": False, "special": True}
        for number, token in enumerate(SPECIAL)
    ]
    byte_level = {"type": "ByteLevel", "trim_offsets": True, "use_regex": True}
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": added,
        "normalizer": None,
        "pre_tokenizer": {**byte_level, "add_prefix_space": False},
        "post_processor": None,
        "decoder": {**byte_level, "add_prefix_space": True},
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": False,
            "byte_fallback": False,
            "ignore_merges": False,
            "vocab": vocabulary(),
            "merges": [],
        },
    }


def common(name: str, shape: Shape) -> dict[str, bytes]:
    """Every file but the weights."""
    tokenizer_config = {
        "bos_token": SPECIAL[BOS],
        "chat_template": CHAT_TEMPLATE,
        "eos_token": SPECIAL[EOS],
        "model_max_length": shape.context,
        "pad_token": SPECIAL[PAD],
        "tokenizer_class": "PreTrainedTokenizerFast",
    }
    generation = {"bos_token_id": BOS, "eos_token_id": EOS, "pad_token_id": PAD}
    return {
        ".gitattributes": ATTRIBUTES.encode(),
        "README.md": f"# {name}\n\nA tiny Llama for tests; it knows three sentences.\n".encode(),
        "config.json": pretty(config(shape)),
        "generation_config.json": pretty(generation),
        "tokenizer.json": pretty(tokenizer()),
        "tokenizer_config.json": pretty(tokenizer_config),
    }


@cache
def tiny() -> HubRepo:
    """lab/tiny: one weight file of 0.5 MB."""
    shape = Shape(hidden=64, intermediate=128, layers=2, heads=2, kv_heads=1)
    tensors = {name: value for part in parts(shape) for name, value in part.items()}
    files = {**common("lab/tiny", shape), "model.safetensors": safetensors(tensors)}
    return HubRepo("lab/tiny", files)


@cache
def sharded() -> HubRepo:
    """lab/sharded: 14 weight files, 10 MB in all, and a file in a folder."""
    shape = Shape(hidden=128, intermediate=384, layers=12, heads=4, kv_heads=2)
    pieces = parts(shape)
    names = [f"model-{n:05}-of-{len(pieces):05}.safetensors" for n in range(1, len(pieces) + 1)]
    files = common("lab/sharded", shape) | {"figures/shape.txt": b"14 files, one a layer\n"}
    where: dict[str, str] = {}
    total = 0
    for name, piece in zip(names, pieces, strict=True):
        files[name] = safetensors(piece)
        where |= dict.fromkeys(piece, name)
        total += sum(4 * len(values) for _, values in piece.values())
    index = {"metadata": {"total_size": total}, "weight_map": where}
    files["model.safetensors.index.json"] = pretty(index)
    return HubRepo("lab/sharded", files)


MODELS: dict[str, Callable[[], HubRepo]] = {"lab/tiny": tiny, "lab/sharded": sharded}
