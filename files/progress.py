"""How far a starting vLLM is, read from its log."""

from __future__ import annotations

import re

# Wording of vLLM 0.32 and 0.33, in the order of a start.
_STAGES = (
    (re.compile(r"Loading .*checkpoint shards: +(\d+)%"), "loading weights"),
    (re.compile(r"Starting to load model"), "loading weights"),
    (re.compile(r"Loading weights took|Model loading took"), "weights loaded"),
    (re.compile(r"torch\.compile|Dynamo bytecode|Compiling a graph"), "compiling"),
    (re.compile(r"[Aa]utotun|JIT|jit_"), "tuning kernels"),
    (re.compile(r"Available KV cache memory|KV cache size"), "reserving KV cache"),
    (re.compile(r"Capturing .*graphs?.*?(\d+)%"), "capturing graphs"),
    (re.compile(r"init engine .* took"), "engine up"),
    (re.compile(r"Application startup complete|Uvicorn running"), "HTTP up"),
)


def stage(line: str) -> str | None:
    """The stage that a log line announces, as in "loading weights 42 %"; None if none."""
    for pattern, name in _STAGES:
        match = pattern.search(line)
        if match:
            share = f" {match[1]} %" if match.groups() and match[1] else ""
            return name + share
    return None


def drained(line: str) -> bool:
    """Whether the engine says that the last request is done after it was told to stop."""
    return "[shutdown] EngineCore: request processing complete" in line


def out_of_patience(
    elapsed_s: float, ready_timeout_s: float, silent_s: float, busy_cores: float
) -> str | None:
    """Why to give up on a server that is not ready; None: wait on.

    Up to ``ready_timeout_s`` nothing but its death ends a start. After that a server that still
    works (a log line lately, or 0.2 cores in use: a kernel compile is silent for up to 17
    minutes) gets as long again, and no more.
    """
    if elapsed_s < ready_timeout_s:
        return None
    working = silent_s < min(60, ready_timeout_s / 4) or busy_cores >= 0.2
    if working and elapsed_s < 2 * ready_timeout_s:
        return None
    seen = "still working" if working else f"silent for {silent_s:.0f} s, {busy_cores:.1f} cores"
    return f"not ready after {elapsed_s:.0f} s (ready_timeout_s {ready_timeout_s:.0f}); {seen}"
