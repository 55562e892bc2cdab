"""What benchmark.py found on hosts: reading it, and figures over several runs. Pure."""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from fleet.problems import SettingsError

RESULTS = Path("evidence/benchmark")


class Lenient(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)


class Key(Lenient):
    """What figures belong to; runs are compared by it."""

    mode: str
    model: str
    revision: str
    image: str
    release: str
    driver: str | None = None
    kernel: str


class GateRun(Lenient):
    """The gate's own measure: tokens per second of each repeat."""

    streams: int
    tokens: int
    repeats: int
    samples: list[float]


class Point(Lenient):
    """One run of `vllm bench serve`; ``result`` is its own JSON, times in ms."""

    input: int
    output: int
    concurrency: int
    repeat: int
    others_tokens: int | None = None
    result: dict[str, Any]

    def figure(self, name: str) -> float | None:
        """A number of vLLM's result."""
        value = self.result.get(name)
        return float(value) if isinstance(value, int | float) else None


class Offline(Lenient):
    """One run of `vllm bench throughput` or `latency`; ``result`` is its own JSON, times in s, and
    ``failed`` why there is none."""

    bench: str
    input: int
    output: int
    result: dict[str, Any] = {}
    failed: str = ""


class Run(Lenient):
    """One host, measured once. ``finished`` is epoch seconds."""

    host: str
    key: Key
    gate: GateRun
    points: list[Point]
    offline: list[Offline] = []
    problems: list[str] = []
    before: dict[str, Any] = {}
    finished: float


def load(paths: Iterable[Path]) -> list[Run]:
    """The runs in ``paths``, oldest first; SettingsError naming each file that is none."""
    runs, problems = [], []
    for path in sorted(paths):
        try:
            runs.append(Run.model_validate(json.loads(path.read_text())))
        except (OSError, ValueError, ValidationError) as error:
            problems.append(f"{path}: found no benchmark result ({_first(error)}); move it away")
    if problems:
        raise SettingsError(*problems)
    return sorted(runs, key=lambda run: run.finished)


def _first(error: Exception) -> str:
    if isinstance(error, ValidationError):
        detail = error.errors()[0]
        return f"{'.'.join(map(str, detail['loc']))}: {detail['msg']}"
    return str(error).splitlines()[0]


def spread_percent(samples: Iterable[float]) -> float:
    """From the lowest to the highest, in percent of the median: the noise floor."""
    found = list(samples)
    middle = statistics.median(found)
    return round(100 * (max(found) - min(found)) / middle, 1) if middle else 0.0
