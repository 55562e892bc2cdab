"""``fleet report`` and ``fleet baseline``: what is made of benchmark results."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from fleet import baseline, bench_report, measured
from fleet.problems import SettingsError

REPORT = Path("evidence/report")


def add(commands: Any) -> None:
    """Add the commands to ``commands``."""
    report = commands.add_parser(
        "report",
        help="a page of the benchmark results, and the same as Markdown and JSON",
        allow_abbrev=False,
    )
    report.add_argument("--out", type=Path, default=REPORT, help=f"folder; default: {REPORT}")
    _results(report, _report)
    kept = commands.add_parser(
        "baseline", help="what later switches are compared with", allow_abbrev=False
    )
    verbs = kept.add_subparsers(metavar="COMMAND", required=True)
    fixed = verbs.add_parser("set", help="take it from benchmark results", allow_abbrev=False)
    fixed.add_argument(
        "--anyway", action="store_true", help="also from runs that something disturbed"
    )
    _results(fixed, _set)


def _results(parser: argparse.ArgumentParser, run: Any) -> None:
    parser.add_argument(
        "results", nargs="*", type=Path, help=f"files of benchmark.py; default: {measured.RESULTS}/"
    )
    parser.set_defaults(run=run)


def _runs(options: argparse.Namespace) -> list[measured.Run]:
    paths = options.results or sorted(measured.RESULTS.glob("*.json"))
    runs = measured.load(paths)
    if not runs:
        raise SettingsError(
            f"{measured.RESULTS}: found no result; run 'pyinfra inventory.py benchmark.py' first"
        )
    return runs


def _report(options: argparse.Namespace) -> int:
    runs = _runs(options)
    texts = {
        "report.html": bench_report.as_html(runs),
        "report.md": bench_report.as_markdown(runs),
        "report.json": bench_report.as_json(runs),
    }
    options.out.mkdir(parents=True, exist_ok=True)
    for name, text in texts.items():
        (options.out / name).write_text(text)
        print(f"wrote {options.out / name}")
    return 0


def _set(options: argparse.Namespace) -> int:
    runs = _runs(options)
    disturbed = [f"{run.host}, {run.key.mode}: {line}" for run in runs for line in run.problems]
    if disturbed and not options.anyway:
        remedy = "measure again, name other results, or take them with --anyway"
        raise SettingsError(*(f"baseline: found {line}; {remedy}" for line in disturbed))
    for made in baseline.make(runs):
        for host, entry in made.hosts.items():
            print(
                f"{made.mode}, {made.model}, {host}: {entry.tokens_per_s} tokens/s, noise "
                f"{entry.noise_percent} %, {entry.runs} runs"
            )
        print(f"wrote {baseline.write(made)}; commit it")
    return 0
