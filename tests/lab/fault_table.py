"""What the fault matrix found, for a person: printed when the tests have run."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass
class Row:
    """One line of the table fault → outcome."""

    fault: str
    outcome: str
    serves: str
    code: int | str
    told: str


ROWS: list[Row] = []  # of all modules of this session


def table(rows: Iterable[Row]) -> str:
    """Fault → outcome, for a person."""
    lines = [
        (r.fault, r.outcome, r.serves, str(r.code), r.told)
        for r in (Row("fault", "outcome", "serves after", "exit", "told"), *rows)
    ]
    widths = [max(len(line[i]) for line in lines) for i in range(4)]
    return "\n".join(
        "  ".join([*(w.ljust(n) for w, n in zip(line, widths, strict=False)), line[4]])
        for line in lines
    )
