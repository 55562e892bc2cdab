"""Baselines: what a mode with a model reached, and what the gate of a switch compares with."""

from __future__ import annotations

import json
import statistics
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Protocol

from pydantic import ValidationError

from fleet.measured import GateRun, Key, Lenient, Run, spread_percent
from fleet.problems import SettingsError

BASELINES = Path("baselines")


class Gated(Protocol):
    """What the gate reads of a host's settings."""

    @property
    def host(self) -> str: ...
    @property
    def vllm_mode(self) -> str: ...
    @property
    def vllm_model(self) -> str: ...
    @property
    def bench_gate(self) -> bool: ...
    @property
    def bench_loss_percent(self) -> float: ...


class Entry(Lenient):
    """One host's median, the noise of its samples, and what it was measured on."""

    tokens_per_s: float
    noise_percent: float
    runs: int
    key: Key


class Baseline(Lenient):
    """A mode with a model; every host was measured with the same load."""

    mode: str
    model: str
    streams: int
    tokens: int
    repeats: int
    hosts: dict[str, Entry]

    def limit(self, host: str, settings: Gated) -> dict[str, float | int]:
        """What ``files/speed.py`` compares with; a host that was not measured gets the median."""
        entries = [self.hosts[host]] if host in self.hosts else list(self.hosts.values())
        return {
            "tokens_per_s": statistics.median(e.tokens_per_s for e in entries),
            "noise_percent": max(e.noise_percent for e in entries),
            "loss_percent": settings.bench_loss_percent,
            "streams": self.streams,
            "tokens": self.tokens,
            "repeats": self.repeats,
        }


def path(mode: str, model: str) -> Path:
    """Where the baseline of a mode with a model lies."""
    return BASELINES / f"{mode}--{model.replace('/', '--')}.json"


def load(mode: str, model: str) -> Baseline | None:
    """The baseline, None if there is none; SettingsError for a file that is none."""
    place = path(mode, model)
    try:
        return Baseline.model_validate(json.loads(place.read_text()))
    except FileNotFoundError:
        return None
    except (ValueError, ValidationError) as error:
        said = str(error).splitlines()[0]
        raise SettingsError(
            f"{place}: found no baseline ({said}); make it again: fleet baseline set"
        ) from None


def make(runs: list[Run]) -> list[Baseline]:
    """A baseline for each mode with model, of each host's runs of its newest release."""
    grouped: dict[tuple[str, str], list[Run]] = defaultdict(list)
    for run in runs:
        grouped[run.key.mode, run.key.model].append(run)
    return [_baseline(mode, model, found) for (mode, model), found in sorted(grouped.items())]


def _baseline(mode: str, model: str, runs: list[Run]) -> Baseline:
    hosts: dict[str, list[Run]] = defaultdict(list)
    for run in runs:
        hosts[run.host].append(run)
    load = runs[-1].gate
    entries = {host: _entry(found, load) for host, found in sorted(hosts.items())}
    told = load.model_dump(include={"streams", "tokens", "repeats"})
    return Baseline(mode=mode, model=model, hosts=entries, **told)


def _entry(runs: list[Run], load: GateRun) -> Entry:
    newest = runs[-1]
    alike = [r for r in runs if r.key == newest.key and r.gate.streams == load.streams]
    samples = [sample for run in alike for sample in run.gate.samples]
    return Entry(
        tokens_per_s=round(statistics.median(samples), 2),
        noise_percent=spread_percent(samples),
        runs=len(alike),
        key=newest.key,
    )


def write(baseline: Baseline) -> Path:
    """Put it into its file, in one rename."""
    place = path(baseline.mode, baseline.model)
    BASELINES.mkdir(exist_ok=True)
    part = place.with_suffix(".part")
    part.write_text(json.dumps(baseline.model_dump(), indent=1, sort_keys=True) + "\n")
    part.replace(place)
    return place


def mistakes(hosts: Iterable[Gated]) -> list[str]:
    """A line for each baseline that a host's gate would miss."""
    problems: list[str] = []
    for settings in hosts:
        try:
            limit(settings)
        except SettingsError as error:
            problems += error.problems
    return problems


def limit(settings: Gated) -> dict[str, float | int] | None:
    """What this host's switch has to reach; None where no gate is asked for."""
    if not settings.bench_gate:
        return None
    found = load(settings.vllm_mode, settings.vllm_model)
    if found is None:
        raise SettingsError(
            f"bench_gate: found no baseline of mode {settings.vllm_mode} with "
            f"{settings.vllm_model}; allowed: one in {BASELINES}/; run benchmark.py, then "
            "'fleet baseline set', or leave the gate out with --data bench_gate=false"
        )
    return found.limit(settings.host, settings)
