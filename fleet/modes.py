"""How vLLM runs: ``modes/<name>.yaml``, a purpose, arguments, environment and limits."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from fleet import yamlfile
from fleet.arguments import Arguments, Environment
from fleet.problems import SettingsError, choice
from fleet.strict import Strict

MODES = Path(__file__).parent.parent / "modes"
MEMORY_CEILING = 0.90  # above it GB10 hosts freeze; see docs/modes.md
NAME = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")

Need = Literal["fp8", "nvfp4", "mla", "speculator"]


def _fraction(value: float) -> float:
    if not 0 < value <= MEMORY_CEILING:
        raise ValueError(
            f"allowed: more than 0, at most {MEMORY_CEILING:.2f} (GB10 shares its memory with the "
            "system: above that it freezes or resets)"
        )
    return value


Fraction = Annotated[float, AfterValidator(_fraction)]
Seconds = Annotated[int, Field(ge=1, le=86_400)]
Names = Annotated[tuple[str, ...], Field(strict=False)]


class Mode(Strict):
    """One way a host can serve; any model may be combined with it."""

    purpose: str = Field(min_length=1, description="What the mode is for, in one line")
    suits: Names = Field(default=(), description="Models or kinds of models it is made for")
    needs: Annotated[tuple[Need, ...], Field(strict=False)] = Field(
        default=(), description="What the model must bring, else the mode's name would be a lie"
    )
    args: Arguments = Field(description="vLLM arguments, long names")
    moe_args: Arguments = Field(
        default={}, description="Arguments added for mixture-of-experts models only"
    )
    env: Environment = Field(default={}, description="Environment of the server")
    memory_fraction: Fraction | None = Field(
        default=None,
        description="Part of the GPU's memory vLLM takes; without it, args: kv-cache-memory-bytes",
    )
    ready_timeout_s: Seconds = Field(description="From start to the first completion, at most")
    drain_timeout_s: Annotated[int, Field(ge=0, le=3600)] = Field(
        description="Time requests in flight get to end before a stop"
    )
    stall_timeout_s: Seconds = Field(
        description="Time without any progress after which a busy server counts as wedged"
    )


def names(modes: Path = MODES) -> list[str]:
    """The modes there are, sorted."""
    return sorted(path.stem for path in modes.glob("*.yaml") if NAME.fullmatch(path.stem))


def load(name: str, modes: Path = MODES, *, place: str = "vllm_mode") -> Mode:
    """The mode called ``name``; SettingsError names the mistake. ``place`` is who asked for it."""
    known = names(modes)
    if name not in known:
        raise SettingsError(choice(place, "vllm_mode", name, known))
    return yamlfile.load(Mode, modes / f"{name}.yaml", f"modes/{name}.yaml")
