"""The factors that the kit this project replaces promised, against what was measured. Pure."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from fleet.measured import Run

REFERENCE = "standard"  # the mode that a factor is taken against
THROUGHPUT, LATENCY = "output_throughput", "median_e2el_ms"


@dataclass(frozen=True)
class Claim:
    """``factor`` of ``figure`` as promised; ``mode`` is ours of that purpose, None: no mode."""

    name: str
    factor: str
    figure: str
    mode: str | None


# Its README, "Performance Comparison" and "Complete SOTA Feature Matrix".
CLAIMS = (
    Claim("SOTA (run.sh)", "2x", THROUGHPUT, "standard"),
    Claim("SOTA (run.sh)", "0.8x", LATENCY, "standard"),
    Claim("ULTIMATE", "4x", THROUGHPUT, "ultimate"),
    Claim("ULTIMATE", "1.2x", LATENCY, "ultimate"),
    Claim("NVFP4", "5x", THROUGHPUT, "nvfp4"),
    Claim("NVFP4", "1.0x", LATENCY, "nvfp4"),
    Claim("EAGLE", "3x", THROUGHPUT, "speculative"),
    Claim("EAGLE", "0.4x", LATENCY, "speculative"),
    Claim("V1 architecture", "2-3x", THROUGHPUT, None),
    Claim("Async scheduling", "1.5x", THROUGHPUT, None),
    Claim("torch.compile", "1.3x", THROUGHPUT, None),
    Claim("FP8", "2x", THROUGHPUT, None),
    Claim("MLA", "9.6x", THROUGHPUT, "deepseek"),
    Claim("Prefix caching", "3-5x", THROUGHPUT, None),
    Claim("FlashInfer", "1.5x", THROUGHPUT, None),
    Claim("CUTLASS", "1.4x", THROUGHPUT, None),
)
NOT_MEASURED = "not measured"
WHAT = {THROUGHPUT: "output tokens/s", LATENCY: "median request latency"}


def row(claim: Claim, runs: Sequence[Run]) -> dict[str, str]:
    """Promise and finding; "not measured" wherever both sides were not measured alike, with the
    same model.

    The kit's own 1x was vLLM without its settings, which is no mode here: what it promised of
    ``standard`` against that stays unmeasured, and the other factors are told against ``standard``.
    """
    found = NOT_MEASURED
    if claim.mode and claim.mode != REFERENCE:
        found = _factor(claim, runs)
    return {
        "claim": claim.name,
        "of": WHAT[claim.figure],
        "promised": claim.factor,
        "our mode": claim.mode or "none alone",
        "measured": found,
    }


def _factor(claim: Claim, runs: Sequence[Run]) -> str:
    models = sorted({run.key.model for run in runs})
    found = (_of_model(claim, [run for run in runs if run.key.model == each]) for each in models)
    told = (f"{text}, {model}" for model, text in zip(models, found, strict=True) if text)
    return "; ".join(told) or NOT_MEASURED


def _of_model(claim: Claim, runs: Sequence[Run]) -> str:
    ours = _figures(runs, str(claim.mode), claim.figure)
    theirs = _figures(runs, REFERENCE, claim.figure)
    factors = [
        statistics.median(ours[point]) / statistics.median(theirs[point])
        for point in sorted(set(ours) & set(theirs))
    ]
    if not factors:
        return ""
    ends = dict.fromkeys(f"{factor:.2f}x" for factor in (min(factors), max(factors)))
    return f"{' to '.join(ends)} of {REFERENCE}, {len(factors)} points"


def _figures(runs: Sequence[Run], mode: str, figure: str) -> dict[tuple[object, ...], list[float]]:
    """The figure by what has to be alike: host and load. Lab modes and undisturbed runs aside."""
    found: dict[tuple[object, ...], list[float]] = {}
    for run in runs:
        if run.key.mode != mode or run.problems:
            continue
        for point in run.points:
            alike = (run.host, point.input, point.output, point.concurrency)
            value = point.figure(figure)
            if value:
                found.setdefault(alike, []).append(value)
    return found


def table(runs: Sequence[Run]) -> list[dict[str, str]]:
    """All claims."""
    return [row(claim, runs) for claim in CLAIMS]
