"""One answer of the preflight."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from fleet.untrusted import printable

Level = Literal["ready", "warn", "blocked"]
UNKNOWN = "unknown"


@dataclass(frozen=True)
class Finding:
    """What was looked at, what was found and wanted, and what to do unless it is ready."""

    name: str
    level: Level
    found: str
    wanted: str = ""
    remedy: str = ""

    def __post_init__(self) -> None:
        """Hosts say what was found: anything may be in it."""
        for name in ("name", "found", "remedy"):
            object.__setattr__(self, name, printable(getattr(self, name)))

    def line(self) -> str:
        """All of it, as a refusal tells it."""
        return f"{self.name}: found {self.found}, wanted {self.wanted}; remedy: {self.remedy}"


def check(
    name: str,
    ok: bool | None,
    found: object,
    *,
    wanted: str,
    remedy: str,
    level: Level = "blocked",
) -> Finding:
    """Ready if ``ok``; else ``level``, also when ``ok`` is None: what is unknown is never ready."""
    if ok:
        return Finding(name, "ready", str(found), wanted)
    return Finding(name, level, UNKNOWN if ok is None else str(found), wanted, remedy)
