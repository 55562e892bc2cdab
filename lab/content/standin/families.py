"""Prometheus families as vLLM 0.32 exposes them: families.json was recorded from its /metrics."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path

TABLE = Path(__file__).with_name("families.json")
SPECULATIVE = ("num_drafts", "num_draft_tokens", "num_accepted_tokens")
Labels = Mapping[str, str]


def speculative_rows() -> list[list[object]]:
    """The families that exist only with a speculative config."""
    labels = [{"engine": "0", "model_name": ""}]
    names = [f"vllm:spec_decode_{name}_total" for name in SPECULATIVE]
    return [[name, "counter", "Speculative decoding.", labels, []] for name in names]


class Registry:
    """Values of all families; a histogram keeps its observations as counts per bucket.

    Not locked: the engine writes it under its own lock.
    """

    def __init__(self, model_name: str, speculative: bool, cache_config: Labels) -> None:
        rows = json.loads(TABLE.read_text()) + (speculative_rows() if speculative else [])
        self._rows: list[tuple[str, str, str, list[dict[str, str]], list[str]]] = rows
        self._model_name = model_name
        self._cache_config = cache_config
        self.values: dict[str, float] = defaultdict(float)
        self._counts: dict[str, dict[float, float]] = defaultdict(lambda: defaultdict(float))
        self.values["vllm:engine_sleep_state/awake"] = 1.0
        self.values["vllm:cache_config_info"] = 1.0

    def observe(self, name: str, value: float) -> None:
        """Add one observation to a histogram; short name without the vllm: prefix."""
        row = next(row for row in self._rows if row[0] == f"vllm:{name}")
        for bound in row[4]:
            if value <= float(bound):
                self._counts[row[0]][float(bound)] += 1
        self.values[f"{row[0]}_sum"] += value
        self.values[f"{row[0]}_count"] += 1

    def render(self, lies: Mapping[str, float | None], cache_lies: Labels) -> str:
        """The exposition text; ``lies`` overrides samples by name, null leaves a family out."""
        lines = []
        for name, kind, text, label_sets, bounds in self._rows:
            if name in lies and lies[name] is None:
                continue
            lines += [f"# HELP {name} {text}", f"# TYPE {name} {kind}"]
            for labels in label_sets:
                shown = self._labels(name, labels, cache_lies)
                if kind == "histogram":
                    lines += self._histogram(name, shown, bounds, lies)
                else:
                    lines.append(sample(name, shown, self._value(name, labels, lies)))
        return "\n".join(lines) + "\n"

    def _labels(self, name: str, labels: Labels, cache_lies: Labels) -> Labels:
        if name == "vllm:cache_config_info":
            return {**labels, **self._cache_config, **cache_lies}
        return {**labels, "model_name": self._model_name}

    def _value(self, name: str, labels: Labels, lies: Mapping[str, float | None]) -> float:
        told = lies.get(name)
        if told is not None:
            return told
        own = [labels[key] for key in labels if key not in ("engine", "model_name")]
        key = "/".join([name, *own]) if own and name != "vllm:cache_config_info" else name
        return self.values.get(key, 0.0)

    def _histogram(
        self, name: str, labels: Labels, bounds: list[str], lies: Mapping[str, float | None]
    ) -> list[str]:
        counts = self._counts[name]
        lines = [
            sample(f"{name}_bucket", {**labels, "le": bound}, counts[float(bound)])
            for bound in bounds
        ]
        return lines + [
            sample(f"{name}_{end}", labels, self._value(f"{name}_{end}", {}, lies))
            for end in ("count", "sum")
        ]


def sample(name: str, labels: Labels, value: float) -> str:
    """One line of the exposition format."""
    pairs = ",".join(f'{key}="{labels[key]}"' for key in sorted(labels))
    return f"{name}{{{pairs}}} {float(value)}"
