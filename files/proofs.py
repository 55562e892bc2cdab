"""Holds what a running server says against what its release claims."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

import vllm_kernels
from observation import Observation, Seen

Verdict = Literal["shown", "refuted", "unknown"]
# One of several kernels in use may be another's: one line with the claimed one is enough.
ONE_IS_ENOUGH = {"attention_backend", "moe_backend", "linear_backend", "served_name"}

_KERNELS = {"moe_backend": vllm_kernels.is_moe, "linear_backend": vllm_kernels.is_linear}


@dataclass(frozen=True)
class Proof:
    """``name`` was claimed as ``claimed`` and found as ``found``, which rests on ``line``.

    unknown: nothing that could be seen says anything of it; ``line`` then says why.
    """

    name: str
    claimed: str
    verdict: Verdict
    found: str
    line: str

    def words(self) -> str:
        """In one line."""
        return f"{self.name}: claimed {self.claimed}, found {self.found} ({self.line})"


def prove(claims: dict[str, list[Any]], seen: Seen) -> list[Proof]:
    """A proof for every claim, in the claims' order."""
    return [_proof(name, accepted, seen) for name, accepted in sorted(claims.items())]


def refuted(proofs: Iterable[Proof]) -> list[Proof]:
    """Those that fail a gate."""
    return [proof for proof in proofs if proof.verdict == "refuted"]


def _proof(name: str, accepted: list[Any], seen: Seen) -> Proof:
    claimed = " or ".join(map(shown, accepted))
    found = seen.of(name)
    if not found:
        why = "; ".join(f"{source}: {text}" for source, text in seen.missing.items())
        return Proof(name, claimed, "unknown", "", why or "the server says nothing of it")
    wrong = [one for one in found if not any(_fits(name, one.value, each) for each in accepted)]
    right = [one for one in found if one not in wrong]
    if right and (not wrong or name in ONE_IS_ENOUGH):
        return Proof(name, claimed, "shown", shown(right[0].value), _lines(right))
    return Proof(name, claimed, "refuted", shown(wrong[0].value), _lines(wrong))


def _fits(name: str, value: object, accepted: object) -> bool:
    if kind := _KERNELS.get(name):
        return kind(str(accepted), str(value))
    if isinstance(value, bool) or isinstance(accepted, bool):
        return value is accepted
    if isinstance(value, int | float) and isinstance(accepted, int | float):
        return math.isclose(value, accepted, rel_tol=1e-6)
    return value == accepted


def _lines(found: list[Observation]) -> str:
    return "; ".join(dict.fromkeys(f"{one.source}: {one.line}" for one in found))


def shown(value: object) -> str:
    """A value as a person reads it."""
    return {True: "yes", False: "no"}[value] if isinstance(value, bool) else str(value)
