"""The record of an activation and what follows from it after an interruption. No side effects."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any, Literal

Phase = Literal[
    "locked",
    "draining",
    "stopping",
    "flipped",
    "starting",
    "gating",
    "reverting",
    "restarting",
    "regating",
    "done",
]
Outcome = Literal["", "switched", "reverted", "revert_failed", "unchanged"]
Course = Literal["forward", "start", "revert", "restart", "nothing"]

BEFORE_FLIP = ("locked", "draining", "stopping")
AFTER_FLIP = ("flipped", "starting", "gating")


@dataclass(frozen=True)
class Activation:
    """One transaction. ``origin`` is where ``who`` asked from; ``before`` the release that served
    (None: nothing did), ``before_previous`` what ``previous`` named. ``rollback``: the
    wish was to go back. Times are epoch seconds.

    ``stopped`` is when the old server was told to stop or went down with the host, ``served`` when
    the host answered again.
    """

    id: str
    release: str
    before: str | None
    before_previous: str | None
    who: str
    origin: str
    why: str
    boot_id: str
    started: float
    keep_releases: int = 2
    speed: dict[str, object] | None = None
    was_enabled: bool = False
    rollback: bool = False
    phase: Phase = "locked"
    detail: str = ""
    outcome: Outcome = ""
    reason: str = ""
    log: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    updated: float = 0.0
    stopped: float | None = None
    served: float | None = None
    finished: float | None = None
    gate: dict[str, object] | None = None

    @property
    def serving(self) -> str | None:
        """The release that a finished activation left serving; None: none."""
        return {"switched": self.release, "unchanged": self.release, "reverted": self.before}.get(
            self.outcome
        )

    def downtime_s(self, now: float) -> float:
        """How long nothing was served because of this activation, up to ``now``."""
        if self.stopped is None:
            return 0.0
        return round((self.served or now) - self.stopped, 1)


def load(record: dict[str, Any]) -> Activation | None:
    """A record read from disk; None if it is not one. Fields of other versions are left out."""
    names = {item.name for item in fields(Activation)}
    try:
        return Activation(**{key: value for key, value in record.items() if key in names})
    except TypeError:
        return None


def course(activation: Activation, *, same_boot: bool) -> Course:
    """How to go on with an interrupted activation.

    In the same boot it goes on where it was. After a boot the old release is taken: the new one
    may be what brought the host down. Without an old one there is only forward.
    """
    if activation.phase == "done":
        return "nothing"
    if activation.phase in ("reverting", "restarting", "regating"):
        return "revert" if activation.phase == "reverting" else "restart"
    if not same_boot and activation.before not in (None, activation.release):
        return "revert"
    return "forward" if activation.phase in BEFORE_FLIP else "start"


def report(activation: Activation, *, alive: bool, now: float | None = None) -> dict[str, object]:
    """What the control side polls. ``alive``: a process works on it."""
    end = activation.finished or now or time.time()
    return {
        **asdict(activation),
        "serving": activation.serving,
        "seconds": round(end - activation.started, 1),
        "downtime_s": activation.downtime_s(end),
        "interrupted": not activation.outcome and not alive,
    }


def moved(activation: Activation, phase: Phase, **changes: Any) -> Activation:
    """The activation in its next phase."""
    return replace(activation, phase=phase, detail="", updated=time.time(), **changes)
