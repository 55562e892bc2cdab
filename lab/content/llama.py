"""The weights of a tiny Llama, made byte for byte: noise but for one chain.

Embeddings are rows of a Hadamard matrix, one a class of tokens, and the output row of each word is
the row of the word before it. So a real server answers readable text at any temperature; a
prompt's last byte chooses which sentence it gets.
"""

from __future__ import annotations

import hashlib
import json
import struct
import sys
from array import array
from dataclasses import dataclass
from functools import cache

from lab.content.standin.sentences import SENTENCES

WORDS = [[f"\u0120{word}" for word in sentence.split()] for sentence in SENTENCES]
SPECIAL = ("<|bos|>", "<|eos|>", "<|pad|>")
BOS, EOS, PAD = range(3)
VOCABULARY = 320
NOISE = 0.02
LOGIT = 20.0  # of the word that comes next; all others are near 0
Tensors = dict[str, tuple[tuple[int, ...], "array[float]"]]


@dataclass(frozen=True)
class Shape:
    """Sizes of a Llama; all of it in float32."""

    hidden: int  # a power of two, at least as many as there are classes of tokens
    intermediate: int
    layers: int
    heads: int
    kv_heads: int
    head: int = 32
    context: int = 2048


def byte_alphabet() -> list[str]:
    """The 256 characters that stand for bytes in a byte-level tokenizer, by byte (GPT-2's rule)."""
    plain = {*range(33, 127), *range(161, 173), *range(174, 256)}
    spare = iter(range(256, 512))
    return [chr(byte) if byte in plain else chr(next(spare)) for byte in range(256)]


@cache
def vocabulary() -> dict[str, int]:
    """Tokens and their numbers: special, bytes, words."""
    words = [word for sentence in WORDS for word in sentence]
    return {token: number for number, token in enumerate((*SPECIAL, *byte_alphabet(), *words))}


@cache
def successors() -> tuple[list[int], dict[int, int]]:
    """Each token's class, and the token that follows each class."""
    starts = len(WORDS)
    classes = [0] * VOCABULARY  # bos, eos and pad begin the first sentence
    for byte in range(256):
        classes[len(SPECIAL) + byte] = byte % starts
    following: dict[int, int] = {}
    number = starts
    for start, sentence in enumerate(WORDS):
        last = start
        for word in sentence:
            following[last] = vocabulary()[word]
            classes[vocabulary()[word]] = last = number
            number += 1
        following[last] = EOS
    return classes, following


def sign(row: int, column: int) -> float:
    """Entry of Sylvester's Hadamard matrix: rows are orthogonal, entries 1 or -1."""
    return -1.0 if (row & column).bit_count() % 2 else 1.0


def noise(name: str, count: int) -> array[float]:
    """``count`` numbers in -NOISE…NOISE that depend on the name only."""
    raw = array("h")
    raw.frombytes(hashlib.shake_256(name.encode()).digest(2 * count))
    if sys.byteorder == "big":
        raw.byteswap()
    return array("f", (value * (NOISE / 32768) for value in raw))


def embedding(shape: Shape) -> array[float]:
    """One row a token: the Hadamard row of its class."""
    classes, _ = successors()
    return array(
        "f",
        (sign(classes[token], col) for token in range(VOCABULARY) for col in range(shape.hidden)),
    )


def output(shape: Shape) -> array[float]:
    """One row a token: of the class it follows, scaled so that its logit is LOGIT; else zero."""
    rows = array("f", bytes(4 * VOCABULARY * shape.hidden))
    for before, token in successors()[1].items():
        for column in range(shape.hidden):
            rows[token * shape.hidden + column] += LOGIT / shape.hidden * sign(before, column)
    return rows


def layer(shape: Shape, prefix: str) -> Tensors:
    """The tensors of one decoder layer."""
    wide, kv = shape.heads * shape.head, shape.kv_heads * shape.head
    sizes = {
        "self_attn.q_proj": (wide, shape.hidden),
        "self_attn.k_proj": (kv, shape.hidden),
        "self_attn.v_proj": (kv, shape.hidden),
        "self_attn.o_proj": (shape.hidden, wide),
        "mlp.gate_proj": (shape.intermediate, shape.hidden),
        "mlp.up_proj": (shape.intermediate, shape.hidden),
        "mlp.down_proj": (shape.hidden, shape.intermediate),
    }
    tensors: Tensors = {}
    for name, (rows, columns) in sizes.items():
        full = f"{prefix}.{name}.weight"
        tensors[full] = ((rows, columns), noise(full, rows * columns))
    for name in ("input_layernorm", "post_attention_layernorm"):
        tensors[f"{prefix}.{name}.weight"] = ones(shape)
    return tensors


def ones(shape: Shape) -> tuple[tuple[int, ...], array[float]]:
    """A norm's weight."""
    return (shape.hidden,), array("f", [1.0] * shape.hidden)


def safetensors(tensors: Tensors) -> bytes:
    """The file format: length of the header, header as JSON, then the tensors."""
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    parts: list[bytes] = []
    offset = 0
    for name in sorted(tensors):
        sizes, values = tensors[name]
        if sys.byteorder == "big":
            values.byteswap()
        parts.append(values.tobytes())
        end = offset + len(parts[-1])
        header[name] = {"dtype": "F32", "shape": sizes, "data_offsets": [offset, end]}
        offset = end
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text + b"".join(parts)


def parts(shape: Shape) -> list[Tensors]:
    """The model in pieces: embedding, layers, head."""
    size = (VOCABULARY, shape.hidden)
    first: Tensors = {"model.embed_tokens.weight": (size, embedding(shape))}
    last: Tensors = {"model.norm.weight": ones(shape), "lm_head.weight": (size, output(shape))}
    middle = [layer(shape, f"model.layers.{number}") for number in range(shape.layers)]
    return [first, *middle, last]
