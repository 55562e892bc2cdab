"""How fast a server generates: a short measure that the gate and the benchmark both take.

Requests run side by side, each to its last token; tokens are those the server's usage counts.
"""

from __future__ import annotations

import statistics
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import completion
from errors import HostError


@dataclass(frozen=True)
class Load:
    """``streams`` requests at a time of ``tokens`` tokens each, measured ``repeats`` times."""

    streams: int = 4
    tokens: int = 64
    repeats: int = 5


@dataclass(frozen=True)
class Limit:
    """What a release may lose. ``tokens_per_s`` is the baseline, both percentages are of it."""

    tokens_per_s: float
    loss_percent: float
    noise_percent: float
    load: Load


@dataclass(frozen=True)
class Verdict:
    """``loss_percent`` against the baseline; negative: faster. ``limit_percent`` is allowed."""

    tokens_per_s: float
    loss_percent: float
    limit_percent: float

    @property
    def lost(self) -> bool:
        return self.loss_percent > self.limit_percent


def limit_from(data: dict[str, object]) -> Limit:
    """The limit in an activation's request; raises HostError for anything else."""
    try:
        numbers = {name: float(str(data[name])) for name in _NUMBERS}
        load = Load(*(int(str(data[name])) for name in ("streams", "tokens", "repeats")))
    except (KeyError, ValueError) as error:
        raise HostError(f"speed: found {data}, wanted a number for each key ({error})") from None
    return Limit(**numbers, load=load)


_NUMBERS = ("tokens_per_s", "loss_percent", "noise_percent")


def measure(target: completion.Target, load: Load) -> list[float]:
    """Tokens per second of each repeat, one unmeasured before them; HostError if a request fails.

    No two prompts begin alike, so that a prefix cache gives nothing.
    """
    _once(target, load)
    return [round(_once(target, load), 2) for _ in range(load.repeats)]


def _once(target: completion.Target, load: Load) -> float:
    asked = [
        replace(target, prompt=f"{uuid.uuid4().hex} is", max_tokens=load.tokens)
        for _ in range(load.streams)
    ]
    begun = time.monotonic()
    with ThreadPoolExecutor(load.streams) as pool:
        answers = list(pool.map(completion.complete, asked))
    seconds = time.monotonic() - begun
    for answer in answers:
        if not answer.ok:
            raise HostError(f"speed: {answer.detail}")
    return sum(answer.completion_tokens for answer in answers) / seconds


def judge(samples: list[float], limit: Limit) -> Verdict:
    """The median against the baseline; less than the noise of the baseline is no loss."""
    now = statistics.median(samples)
    loss = 100 * (1 - now / limit.tokens_per_s)
    return Verdict(now, round(loss, 1), max(limit.loss_percent, limit.noise_percent))


def gate(target: completion.Target, limit: Limit) -> Verdict:
    """Raises HostError when the server lost too much, twice: one bad moment is not a loss."""
    verdict = judge(measure(target, limit.load), limit)
    if verdict.lost:
        verdict = judge(measure(target, limit.load), limit)
    if verdict.lost:
        raise HostError(
            f"speed: found {verdict.tokens_per_s:.1f} tokens/s, {verdict.loss_percent:.0f} % less "
            f"than the baseline of {limit.tokens_per_s:.1f}; allowed: {verdict.limit_percent:.0f} "
            "% less; take a faster release, a new baseline, or --data bench_gate=false"
        )
    return verdict
