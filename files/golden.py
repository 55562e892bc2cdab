"""Compares greedy answers with recorded ones, tolerant of kernels that round differently."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import completion
from completion import Target
from proofs import Proof

PROMPTS = (
    "The capital of France is",
    "Monday, Tuesday, Wednesday,",
    "One, two, three, four,",
)
TOKENS = 24
AGREE = 0.5  # of the words, from the first on: after one other word all others are others


def answers(target: Target) -> dict[str, str]:
    """The greedy answer to each prompt, asked at once; prompts that got none are left out."""

    def answer(prompt: str) -> completion.Result:
        return completion.complete(replace(target, prompt=prompt, max_tokens=TOKENS))

    with ThreadPoolExecutor(len(PROMPTS)) as pool:
        asked = dict(zip(PROMPTS, pool.map(answer, PROMPTS), strict=True))
    return {prompt: result.text for prompt, result in asked.items() if result.ok}


def proof(recorded: Mapping[str, str], found: Mapping[str, str]) -> Proof:
    """Whether the answers agree with the recorded ones, the mean over the prompts."""
    claimed = f"{AGREE:.0%} of the recorded words or more"
    shares = {prompt: agreement(text, found.get(prompt, "")) for prompt, text in recorded.items()}
    mean = sum(shares.values()) / max(len(shares), 1)
    worst = min(shares, key=lambda prompt: shares[prompt])
    line = f"{worst!r} → {' '.join(found.get(worst, 'no answer').split())[:80]!r}"
    verdict = "shown" if mean >= AGREE else "refuted"
    return Proof("answer: golden", claimed, verdict, f"{mean:.0%}", line)  # type: ignore[arg-type]


def agreement(recorded: str, found: str) -> float:
    """Share of the recorded words that are there, from the first to where they part."""
    wanted, got = recorded.split(), found.split()
    same = 0
    while same < min(len(wanted), len(got)) and wanted[same] == got[same]:
        same += 1
    return same / max(len(wanted), 1)
