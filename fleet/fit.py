"""Does a model in a mode fit the memory of its hosts? Arithmetic, and what would fit. Pure.

Every figure is bytes unless its name says otherwise; per host, for the fullest of a replica.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from fleet import kv_cache
from fleet.kv_cache import Demand, Layout
from fleet.memory import GIB, OUTSIDE_GIB, Plan, Subject, budget, gib, parts
from fleet.model_config import ModelConfig
from fleet.modes import MEMORY_CEILING
from fleet.problems import SettingsError

MOST_HOSTS = 64
_MOST = round(100 * MEMORY_CEILING)
Verdict = Literal["fits", "refused", "unknown"]


@dataclass(frozen=True)
class Fit:
    """The result. ``problem`` is one line; ``remedies`` are settings that do fit, nearest first."""

    verdict: Verdict
    parts: Mapping[str, int]
    cache: int
    layout: Layout | None
    context: int
    concurrent: float
    hosts_needed: int | None
    problem: str = ""
    remedies: tuple[str, ...] = field(default=())


def fit(subject: Subject, wanted: Plan) -> Fit:
    """Whether ``subject`` fits ``wanted``; never raises for what a model or a mode may say."""
    result = _with_most_weights(subject, wanted)
    if result.verdict != "refused" or not _spreads_experts(subject, wanted):
        return result
    least = replace(subject, weights=subject.weights // wanted.data)
    if _with_most_weights(least, wanted).verdict == "refused":
        return result
    problem = (
        f"{subject.repo}: how much of its weights are experts is not known; data_parallel "
        f"{wanted.data} spreads only those"
    )
    return replace(result, verdict="unknown", problem=problem, hosts_needed=None, remedies=())


def _spreads_experts(subject: Subject, wanted: Plan) -> bool:
    """Experts are divided over all data ranks, with expert parallelism or without it (fused_moe/
    config.py of vLLM 0.33, FusedMoEParallelConfig.make); the other weights are on each of them."""
    return wanted.data > 1 and (subject.config is None or subject.config.experts is not None)


def _with_most_weights(subject: Subject, wanted: Plan) -> Fit:
    held = parts(subject, wanted)
    taken = budget(wanted, held)
    cache = taken - sum(held.values())
    context = _context(subject, wanted)
    result = Fit("fits", held, cache, None, context, 0.0, None)
    if problem := _host_problem(wanted, taken):
        return _refused(subject, wanted, result, f"{subject.repo}: {problem}")
    if cache <= 0:
        return _too_heavy(subject, wanted, result, taken)
    try:
        layout = kv_cache.layout(_demand(subject, wanted))
    except SettingsError as error:
        return replace(result, verdict="unknown", problem=f"{subject.repo}: {error}")
    concurrent = layout.sequences(cache, context)
    result = replace(result, layout=layout, concurrent=concurrent, hosts_needed=wanted.hosts)
    if layout.longest(cache, context) < context:
        return _too_long(subject, wanted, result, layout)
    return result


def _context(subject: Subject, wanted: Plan) -> int:
    of_model = subject.config.context if subject.config else None
    return wanted.context or of_model or 0


def _host_problem(wanted: Plan, taken: int) -> str:
    outside = round(OUTSIDE_GIB * GIB)
    if taken + outside + wanted.floor <= wanted.available:
        return ""
    return (
        f"vLLM would take {gib(taken)} GiB of {gib(wanted.available)} available and its processes "
        f"{gib(outside)}, but {gib(wanted.floor)} must stay free (memory_floor_gib)"
    )


def _with_memory(subject: Subject, wanted: Plan) -> Plan | None:
    """``wanted`` with the memory fraction nearest to its own that makes everything fit."""
    if wanted.fraction is None or wanted.cache_bytes is not None:
        return wanted if _holds(subject, wanted) else None
    here = round(wanted.fraction * 100)
    for hundredths in sorted(range(1, _MOST + 1), key=lambda value: abs(value - here)):
        candidate = replace(wanted, fraction=hundredths / 100)
        if _holds(subject, candidate):
            return candidate
    return None


def _too_heavy(subject: Subject, wanted: Plan, result: Fit, taken: int) -> Fit:
    weights = result.parts["weights"]
    others = sum(result.parts.values()) - weights
    most = "up to " if _spreads_experts(subject, wanted) else ""
    problem = (
        f"{subject.repo}: weights take {most}{gib(weights)} GiB on each of {wanted.hosts} host(s), "
        f"allowed: less than {gib(taken - others)} ({gib(taken)} for vLLM less {gib(others)} for "
        "everything but weights)"
    )
    return _refused(subject, wanted, result, problem)


def _too_long(subject: Subject, wanted: Plan, result: Fit, layout: Layout) -> Fit:
    problem = (
        f"{subject.repo}: one sequence of {result.context} tokens takes "
        f"{gib(layout.sequence_bytes(result.context))} GiB of KV cache, allowed: "
        f"{gib(result.cache)} GiB, which are left on each of {wanted.hosts} host(s)"
    )
    return _refused(subject, wanted, result, problem)


def _refused(subject: Subject, wanted: Plan, result: Fit, problem: str) -> Fit:
    more, spread = _with_memory(subject, wanted), _spread(subject, wanted)
    remedies = [
        *([f"memory_fraction {more.fraction:.2f}"] if more else []),
        *_shorter(result),
        *_smaller_numbers(subject, wanted),
        *([_said(spread, wanted)] if spread else []),
    ]
    needed = wanted.hosts if more else spread.hosts if spread else None
    return replace(
        result, verdict="refused", problem=problem, hosts_needed=needed, remedies=tuple(remedies)
    )


def _holds(subject: Subject, wanted: Plan) -> bool:
    """Whether it fits, without a search for what would."""
    held = parts(subject, wanted)
    taken = budget(wanted, held)
    cache = taken - sum(held.values())
    return cache > 0 and not _host_problem(wanted, taken) and _holds_one(subject, wanted, cache)


def _shorter(result: Fit) -> list[str]:
    if result.layout is None:
        return []
    longest = result.layout.longest(result.cache, result.context) // 1024 * 1024
    return [f"max-model-len {longest}"] if longest else []


def _smaller_numbers(subject: Subject, wanted: Plan) -> list[str]:
    if wanted.kv_dtype.startswith("fp8") or not _holds(subject, replace(wanted, kv_dtype="fp8")):
        return []
    return ["kv-cache-dtype fp8"]


def _spread(subject: Subject, wanted: Plan) -> Plan | None:
    """The plan with the fewest hosts that holds the model and one sequence, up to 64 hosts.

    The memory fraction stays: hosts that just hold the weights at 0.90 are no remedy.
    """
    for hosts in range(wanted.hosts + wanted.data, MOST_HOSTS + 1, wanted.data):
        tensor, pipeline = split(subject.config, hosts // wanted.data)
        candidate = replace(_bearable(wanted), tensor=tensor, pipeline=pipeline)
        if _holds(subject, candidate):
            return candidate
    return None


def _bearable(wanted: Plan) -> Plan:
    """``wanted`` with a fraction that leaves the floor free."""
    if wanted.fraction is None:
        return wanted
    spare = (wanted.available - wanted.floor - OUTSIDE_GIB * GIB) / wanted.gpu
    return replace(wanted, fraction=min(wanted.fraction, int(spare * 100) / 100))


def _said(spread: Plan, wanted: Plan) -> str:
    sizes = f"tensor_parallel {spread.tensor}, pipeline_parallel {spread.pipeline}"
    sizes += f", data_parallel {spread.data}" if spread.data > 1 else ""
    other = spread.fraction is not None and spread.fraction != wanted.fraction
    memory = f", memory_fraction {spread.fraction:.2f}" if other else ""
    return f"{spread.hosts} hosts ({sizes}{memory})"


def _holds_one(subject: Subject, wanted: Plan, cache: int) -> bool:
    context = _context(subject, wanted)
    try:
        return kv_cache.layout(_demand(subject, wanted)).longest(cache, context) == context
    except SettingsError:
        return True


def split(config: ModelConfig | None, hosts: int) -> tuple[int, int]:
    """Tensor and pipeline sizes for ``hosts``: as many ranks a layer as divide its heads."""
    heads = config.heads if config else hosts
    tensor = max(size for size in range(1, hosts + 1) if not hosts % size and not heads % size)
    return tensor, hosts // tensor


def _demand(subject: Subject, wanted: Plan) -> Demand:
    if subject.config is None:
        raise SettingsError("nothing is known of its layers; lock it: fleet lock")
    return Demand(
        config=subject.config,
        kv_dtype=wanted.kv_dtype,
        tensor=wanted.tensor,
        pipeline=wanted.pipeline,
        speculative_tokens=wanted.speculative_tokens,
        own_draft_layers=wanted.own_draft_layers,
        draft=subject.draft,
        prefix_caching=wanted.prefix_caching,
        in_flight_tokens=(wanted.pipeline + 1) * wanted.batch_tokens,
        block=wanted.block,
    )
