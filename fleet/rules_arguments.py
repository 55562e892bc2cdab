"""Arguments that vLLM would misread, drop, or end on."""

from __future__ import annotations

from collections.abc import Iterator

from fleet.case import Case, Finding, Rule
from fleet.combine import whole_number
from fleet.flags import KNOWN, SWITCHES, VERSION
from fleet.gb10 import GPU_GIB
from fleet.problems import shown, suggestion

_OLD_PASSES = {
    "enable_fi_allreduce_fusion": "fuse_allreduce_rms",
    "enable_attn_fusion": "fuse_attn_quant",
}
_GRAPH_MODES = ("NONE", "PIECEWISE", "FULL", "FULL_DECODE_ONLY", "FULL_AND_PIECEWISE")
_STREAMED = 0.8  # of memory: fastsafetensors needs room for what it copies


def _names(case: Case) -> Iterator[Finding]:
    """The parser takes any unambiguous beginning of a name; we do not."""
    for name in case.args:
        if name in KNOWN:
            continue
        longer = sorted(known for known in KNOWN if known.startswith(name))
        if longer:
            yield f"args.{name}", f"is an abbreviation, allowed: {', '.join(longer[:5])}"
        elif near := suggestion(name, KNOWN, cutoff=0.88):
            yield f"args.{name}", f"is unknown to vLLM {VERSION}{near}"


def _off(case: Case) -> Iterator[Finding]:
    for name, value in case.args.items():
        if value is False and name not in SWITCHES:
            yield (
                f"args.{name}",
                "found False, which vLLM drops in silence (it has no "
                f"--no-{name}); leave the key out, or set it to null",
            )


def _memory(case: Case) -> Iterator[Finding]:
    fraction = case.settings.memory_fraction or case.mode.memory_fraction
    if fraction is None and "kv-cache-memory-bytes" not in case.args:
        yield (
            "memory_fraction",
            f"missing, mode {case.settings.vllm_mode!r} has none; allowed: up to 0.90, "
            "or set vllm_args kv-cache-memory-bytes",
        )
    limit = int(_STREAMED * GPU_GIB * 2**30)
    if case.args.get("load-format") == "fastsafetensors" and case.model.size > limit * case.gpus:
        yield (
            "args.load-format",
            f"found fastsafetensors with {case.model.size >> 30} GiB of weights, allowed: up to "
            f"{limit * case.gpus >> 30} GiB, it runs out of memory above; use auto",
        )


def _context(case: Case) -> Iterator[Finding]:
    wish = whole_number(case.args.get("max-model-len"))
    context = case.config.context if case.config else None
    if wish and context and wish > context:
        yield (
            "args.max-model-len",
            f"found {wish}, allowed: at most {context}, the context of {case.model.repo}",
        )


def _tools(case: Case) -> Iterator[Finding]:
    if case.args.get("enable-auto-tool-choice") and not case.args.get("tool-call-parser"):
        yield (
            "args.enable-auto-tool-choice",
            "found True without tool-call-parser; vLLM exits without one, name the parser",
        )


def _compilation(case: Case) -> Iterator[Finding]:
    config = case.args.get("compilation-config")
    if not isinstance(config, dict):
        return
    passes = config.get("pass_config")
    for old in _OLD_PASSES.keys() & (passes.keys() if isinstance(passes, dict) else ()):
        yield (
            "args.compilation-config",
            f"found pass_config.{old}, gone since vLLM 0.13; now {_OLD_PASSES[old]}, which GB10 "
            "does not gain from: leave it out",
        )
    graphs = config.get("cudagraph_mode", "NONE")
    if graphs not in _GRAPH_MODES:
        yield (
            "args.compilation-config",
            f"found cudagraph_mode {shown(graphs)}, allowed: {', '.join(_GRAPH_MODES)}",
        )


def _speculative(case: Case) -> Iterator[Finding]:
    draft = case.args.get("speculative-config")
    if draft is None:
        return
    if not isinstance(draft, dict):
        yield "args.speculative-config", f"found {shown(draft)}, allowed: a mapping"
    elif "model" in draft:
        yield (
            "args.speculative-config",
            "found a model in it; name it with vllm_speculator, so that it is locked and staged",
        )
    elif "num_speculative_tokens" not in draft:
        yield "args.speculative-config", "num_speculative_tokens is missing, vLLM requires it"
    elif "tensor_parallel_size" in draft:
        yield (
            "args.speculative-config",
            "found tensor_parallel_size, allowed: draft_tensor_parallel_size",
        )


RULES: tuple[Rule, ...] = (_names, _off, _memory, _context, _tools, _compilation, _speculative)
