"""Which hosts change together, and in which order. Pure."""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Sequence
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from fleet.strict import Strict
from fleet.words import Line


def _wave_size(value: int | str) -> int | str:
    if isinstance(value, int):
        if value >= 1:
            return value
    elif re.fullmatch(r"(?:[1-9][0-9]?|100)%", value):
        return value
    raise ValueError("allowed: a number of hosts from 1 up, or a percentage such as '25%'")


WaveSize = Annotated[int | str, AfterValidator(_wave_size)]


class RolloutSettings(Strict):
    """How a change moves over the fleet; the same for every host of a run."""

    canary: Line | None = Field(
        default=None,
        description="Host or group that changes first, alone. Default: the first host that changes",
    )
    wave_size: WaveSize = Field(
        default="25%",
        description="Hosts that change together after the canary: a number, or a percentage of all",
    )
    on_failure: Literal["revert", "stop"] = Field(
        default="revert",
        description="'revert': all hosts of the run go back; 'stop': only the failed ones do",
    )
    allow_downtime: bool = Field(
        default=False,
        description="Switch also where that leaves a model behind the gateway without a replica",
    )
    break_lock: bool = Field(
        default=False,
        description="Take over a host's lock that another run left behind",
    )
    lost_after_s: int = Field(
        default=300,
        ge=10,
        description="Seconds without an answer after which a host that switches counts as lost; "
        "what it began goes on there",
    )


def plan(hosts: Sequence[str], canary: Collection[str], wave_size: int | str) -> list[list[str]]:
    """The waves over ``hosts`` (inventory order): the canary alone, then groups of ``wave_size``.

    ``canary`` names the hosts that go first; when none of them is in ``hosts`` the first host is
    the canary. A percentage is of all ``hosts``, rounded up, never less than one host.
    """
    if not hosts:
        return []
    first = [h for h in hosts if h in canary] or [hosts[0]]
    rest = [h for h in hosts if h not in first]
    size = _hosts_per_wave(len(hosts), wave_size)
    return [first, *(rest[i : i + size] for i in range(0, len(rest), size))]


def _hosts_per_wave(total: int, wave_size: int | str) -> int:
    if isinstance(wave_size, int):
        return wave_size
    return max(1, math.ceil(total * int(wave_size.rstrip("%")) / 100))
