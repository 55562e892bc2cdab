"""The settings of the benchmark and of the gate that compares with a baseline."""

from __future__ import annotations

from typing import Annotated

from pydantic import BeforeValidator, Field

from fleet.strict import Strict


def _numbers(value: object) -> object:
    """A list of whole numbers; as ``--data`` gives it: "1,4,16"."""
    if isinstance(value, int) and not isinstance(value, bool):
        return [value]
    if isinstance(value, str):
        words = [word.strip() for word in value.split(",")]
        if not all(word.isdecimal() for word in words):
            raise ValueError("allowed: whole numbers with commas between them, such as 1,4,16")
        return [int(word) for word in words]
    return value


Count = Annotated[int, Field(ge=1, le=1_000_000)]
Counts = Annotated[list[Count], Field(min_length=1, max_length=12), BeforeValidator(_numbers)]


class MeasureSettings(Strict):
    """Benchmark and baseline gate."""

    bench_input: Counts = Field(
        default=[512], description="benchmark.py: prompt lengths, tokens; a list, or '512,4096'"
    )
    bench_output: Counts = Field(default=[128], description="benchmark.py: answer lengths, tokens")
    bench_concurrency: Counts = Field(
        default=[1, 2, 4, 8], description="benchmark.py: requests at a time"
    )
    bench_repeats: int = Field(
        default=3, ge=0, le=20, description="benchmark.py: times each point is measured; their "
        "spread is the noise floor. 0: only the gate's own short measure"
    )  # fmt: skip
    bench_warmups: int = Field(
        default=2, ge=0, le=100, description="benchmark.py: unmeasured requests before each point"
    )
    bench_prompts: int = Field(
        default=8, ge=1, le=10_000,
        description="benchmark.py: requests of a point, four for each concurrent one at least",
    )  # fmt: skip
    bench_gate: bool = Field(
        default=False,
        description="A switch is reverted when it lost more than bench_loss_percent of the "
        "baseline's tokens per second; the baseline: fleet baseline set",
    )
    bench_loss_percent: float = Field(
        default=10.0, ge=1, le=90, description="What a switch may lose against the baseline"
    )
