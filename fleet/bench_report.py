"""The report over benchmark results: rows and charts as HTML, Markdown and JSON. Pure."""

from __future__ import annotations

import datetime
import json
import statistics
from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any

from fleet import claims, templates
from fleet.measured import Run, spread_percent
from fleet.svg import Chart, Line, Mark, chart

FIGURES = {
    "output_throughput": "output tokens/s",
    "median_ttft_ms": "TTFT p50 ms",
    "p99_ttft_ms": "TTFT p99 ms",
    "median_itl_ms": "ITL p50 ms",
    "p99_itl_ms": "ITL p99 ms",
}
CHARTS = {  # title -> figure, axis
    "Output tokens per second": ("output_throughput", "tokens/s"),
    "Time to first token, median": ("median_ttft_ms", "ms"),
    "Time to first token, 99th percentile": ("p99_ttft_ms", "ms"),
    "Between two tokens, median": ("median_itl_ms", "ms"),
    "Between two tokens, 99th percentile": ("p99_itl_ms", "ms"),
}


def when(epoch: float) -> str:
    """UTC, to the minute."""
    return datetime.datetime.fromtimestamp(epoch, datetime.UTC).strftime("%Y-%m-%d %H:%M")


def _points(run: Run) -> Sequence[object]:
    return run.points


def _offline(run: Run) -> Sequence[object]:
    return run.offline


def newest(runs: Sequence[Run], found: Callable[[Run], Sequence[object]] = _points) -> list[Run]:
    """Of each host, mode and model: the runs of what last had anything ``found``."""
    last = {(r.host, r.key.mode, r.key.model): r.key for r in runs if found(r)}
    return [r for r in runs if last.get((r.host, r.key.mode, r.key.model)) == r.key]


def points(runs: Sequence[Run]) -> list[dict[str, Any]]:
    """A row for each measured point, over its repeats."""
    grouped: dict[tuple[Any, ...], list[Any]] = defaultdict(list)
    for run in runs:
        for point in run.points:
            load = (point.input, point.output, point.concurrency)
            grouped[run.key.model, run.key.mode, run.host, *load].append(point)
    heads = ("model", "mode", "host", "input", "output", "concurrency")
    return [dict(zip(heads, key, strict=True)) | _over(found) for key, found in _sorted(grouped)]


def _sorted(grouped: dict[tuple[Any, ...], list[Any]]) -> list[tuple[tuple[Any, ...], list[Any]]]:
    return sorted(grouped.items(), key=lambda item: item[0])


def _over(found: list[Any]) -> dict[str, Any]:
    row: dict[str, Any] = {"runs": len(found)}
    for name, title in FIGURES.items():
        values = [value for point in found if (value := point.figure(name)) is not None]
        row[title] = round(statistics.median(values), 1) if values else None
        if name == "output_throughput":
            row["noise %"] = spread_percent(values) if values else None
    return row


def history(runs: Sequence[Run]) -> list[dict[str, Any]]:
    """Every run's own gate measure, oldest first."""
    return [
        {
            "finished": when(run.finished),
            "host": run.host,
            "mode": run.key.mode,
            "model": run.key.model,
            "revision": run.key.revision[:12],
            "image": run.key.image.rpartition(":")[2][:12],
            "driver": run.key.driver or "unknown",
            "kernel": run.key.kernel,
            "tokens/s": round(statistics.median(run.gate.samples), 1),
            "noise %": spread_percent(run.gate.samples),
            "problems": "; ".join(run.problems),
        }
        for run in runs
    ]


def offline(runs: Sequence[Run]) -> list[dict[str, Any]]:
    """What the engine did without its HTTP server, a row for each run of a pair of lengths."""
    return [
        {
            "model": run.key.model,
            "mode": run.key.mode,
            "host": run.host,
            "bench": one.bench,
            "input": one.input,
            "output": one.output,
            "requests/s": _rounded(one.result.get("requests_per_second"), 2),
            "tokens/s, both ways": _rounded(one.result.get("tokens_per_second"), 1),
            "latency s, mean": _rounded(one.result.get("avg_latency"), 3),
            "failed": one.failed,
        }
        for run in runs
        for one in run.offline
    ]


def _rounded(value: object, digits: int) -> float | None:
    return round(float(value), digits) if isinstance(value, int | float) else None


def charts(runs: Sequence[Run]) -> list[str]:
    """All charts: one of each kind for every pair of lengths, then history."""
    now = newest(runs)
    lengths = sorted({(p.input, p.output) for r in now for p in r.points})
    made = []
    for pair in lengths:
        for title, (figure, axis) in CHARTS.items():
            text = f"{title} ({pair[0]} in, {pair[1]} out)"
            made.append(chart(Chart(text, "requests at a time", axis, _lines(now, pair, figure))))
    return [*made, _history_chart(runs)]


def _lines(runs: Sequence[Run], pair: tuple[int, int], figure: str) -> list[Line]:
    """A line for each host with mode and model."""
    found: dict[str, dict[int, list[float]]] = defaultdict(lambda: defaultdict(list))
    name = _naming(runs)
    for run in runs:
        for point in run.points:
            value = point.figure(figure)
            if (point.input, point.output) == pair and value is not None:
                found[name(run)][point.concurrency].append(value)
    return [
        Line(title, [_mark(x, values) for x, values in sorted(by_x.items())])
        for title, by_x in sorted(found.items())
    ]


def _mark(x: float, values: list[float]) -> Mark:
    return Mark(x, statistics.median(values), min(values), max(values))


def _naming(runs: Sequence[Run]) -> Callable[[Run], str]:
    """Names of lines: what is alike in all of them is left out."""
    several = len({run.key.model for run in runs}) > 1

    def name(run: Run) -> str:
        return f"{run.key.mode}, {run.host}" + (f", {run.key.model}" if several else "")

    return name


def _history_chart(runs: Sequence[Run]) -> str:
    found: dict[str, list[Mark]] = defaultdict(list)
    name = _naming(runs)
    for index, run in enumerate(runs):
        found[name(run)].append(_mark(index, run.gate.samples))
    lines = [Line(title, marks) for title, marks in sorted(found.items())]
    labels = [str(index + 1) for index in range(len(runs))]
    return chart(Chart("The gate's measure, run by run", "run", "tokens/s", lines, labels))


def body(runs: Sequence[Run]) -> dict[str, Any]:
    """The report as JSON would have it."""
    return {
        "points": points(newest(runs)),
        "offline": offline(newest(runs, _offline)),
        "claims": claims.table(newest(runs)),
        "history": history(runs),
    }


def as_json(runs: Sequence[Run]) -> str:
    return json.dumps(body(runs), indent=1) + "\n"


def _render(name: str, escape: bool, values: dict[str, Any]) -> str:
    return templates.environment(escape=escape).get_template(name).render(values)


TITLES = {
    "points": "Measured points",
    "offline": "Offline, without the server",
    "claims": "What the original kit promised",
    "history": "History",
}


def as_html(runs: Sequence[Run]) -> str:
    """One page that needs nothing else: style and charts are in it."""
    return _render("report.html.j2", True, {"titles": TITLES, "charts": charts(runs), **_all(runs)})


def as_markdown(runs: Sequence[Run]) -> str:
    return _render("report.md.j2", False, {"titles": TITLES, **_all(runs)})


def _all(runs: Sequence[Run]) -> dict[str, Any]:
    return {"tables": body(runs), "until": when(runs[-1].finished), "count": len(runs)}
