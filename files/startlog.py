"""What vLLM's log says while it starts of how it will run; forms of 0.32 and 0.33."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

Found = tuple[str, str | int | bool, str]  # claim, what the line says of it, the words that do

MOST_LINES = 200
LONGEST = 16_000  # characters; the engine's line has 6,000
_ENGINE = re.compile(r"Initializing a V\d LLM engine \(v([^)]+)\) with config: (.*)")
_WORDS = {
    "cudagraph_mode": re.compile(r"'cudagraph_mode': <CUDAGraphMode\.(\w+)"),
    "dtype": re.compile(r", dtype=torch\.(\w+)"),
    "kv_cache_dtype": re.compile(r", kv_cache_dtype=(\w+)"),
    "model": re.compile(r"^model='([^']*)'"),
    "quantization": re.compile(r", quantization=([\w-]+)"),
    "served_name": re.compile(r", served_model_name=([^ ,]+),"),
}
_SWITCHES = {
    "enforce_eager": re.compile(r", enforce_eager=(True|False)"),
    "prefix_caching": re.compile(r", enable_prefix_caching=(True|False)"),
    "trust_remote_code": re.compile(r", trust_remote_code=(True|False)"),
}
_LENGTH = re.compile(r", max_seq_len=(\d+)")
_SPECULATION = re.compile(
    r"speculative_config=(?:None|SpeculativeConfig\(method='(\w+)',.*?num_spec_tokens=(\d+)\))"
)
# Said once it is decided, after the engine's own line.
_LATER = (
    ("attention_backend", re.compile(r"Using (?:AttentionBackendEnum\.)?([A-Z0-9_]+) backend\.")),
    ("attention_backend", re.compile(r"Using ([A-Z0-9_]+) attention backend out of")),
    ("attention_backend", re.compile(r"Cannot use (\S+) backend on CPU")),
    ("cudagraph_mode", re.compile(r"(?:setting cudagraph_mode=|cudagraph_mode to )([A-Z_]+)")),
    ("moe_backend", re.compile(r"Using '?(\w+)'? \w+ MoE backend")),
    ("linear_backend", re.compile(r"Using (\w+Kernel) for ")),
    ("linear_backend", re.compile(r"Selected (\w+Kernel) for ")),
)
_FALLBACKS = (
    ("emulation", re.compile(r"falling back to the slow and unoptimized emulation")),
    ("emulation", re.compile(r"Using '?EMULATION'? \w+ MoE backend")),
    ("marlin", re.compile(r"Weight-only FP[48] compression will be used leveraging the Marlin")),
    ("linear-backend", re.compile(r"--linear-backend=\S+ (?:was requested, but|has) no ")),
)
_PATTERNS = (_ENGINE, *(p for _, p in _LATER), *(p for _, p in _FALLBACKS))


def tells(line: str) -> bool:
    """Whether a line of the log is one of those that ``read`` understands."""
    return any(pattern.search(line) for pattern in _PATTERNS)


def version(lines: Iterable[str]) -> str:
    """The version that the engine names; "" if it names none."""
    return next((found[1] for line in lines if (found := _ENGINE.search(line))), "")


def read(lines: Iterable[str]) -> Iterator[Found]:
    """All that the lines say, in their order; nothing if the engine's own line is not there."""
    kept = list(lines)
    engine = next((found for line in kept if (found := _ENGINE.search(line))), None)
    if engine is None:
        return
    yield from _engine(engine[2])
    fallbacks = [found for line in kept for found in _fallbacks(line)]
    yield from fallbacks or [("kernel_fallback", "none", f"none in {len(kept)} telling lines")]
    for line in kept:
        yield from _later(line)


def _engine(config: str) -> Iterator[Found]:
    for name, pattern in _WORDS.items():
        if found := pattern.search(config):
            value = "none" if found[1] == "None" else found[1]
            yield name, value, found[0].strip(", ")
    for name, pattern in _SWITCHES.items():
        if found := pattern.search(config):
            yield name, found[1] == "True", found[0].strip(", ")
    if found := _LENGTH.search(config):
        yield "max_model_len", int(found[1]), found[0].strip(", ")
    if found := _SPECULATION.search(config):
        value = f"{found[1]}:{found[2]}" if found[1] else "none"
        yield "speculation", value, found[0]


def _later(line: str) -> Iterator[Found]:
    for name, pattern in _LATER:
        found = pattern.search(line)
        if found is None:
            continue
        value = "CPU_ATTN" if found[0].startswith("Cannot") else found[1]
        if name == "moe_backend":
            value = value.lower()
        yield name, value, found[0]


def _fallbacks(line: str) -> Iterator[Found]:
    for kernel, pattern in _FALLBACKS:
        if found := pattern.search(line):
            yield "kernel_fallback", kernel, found[0]
