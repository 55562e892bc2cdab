"""``fleet show`` and ``fleet fit``: what a mode does with a model."""

from __future__ import annotations

import argparse
import json
from typing import Any

from rich.table import Table

from fleet import footprint, group_data, known_models, models, modes, render, serving, show, tables
from fleet.fit import MOST_HOSTS, Fit
from fleet.problems import SettingsError
from fleet.serving import Serving

_IMAGE = "no-image-chosen@sha256:" + "0" * 64
_FILES = ("vllm.yaml", "vllm.env", "compose.yaml", "release.json")


def add(commands: Any) -> None:
    """Add the two commands to ``commands``."""
    shown = commands.add_parser(
        "show",
        help="what a mode does with a model: command line, config, environment, compose, memory",
        allow_abbrev=False,
    )
    shown.add_argument("mode", metavar="MODE")
    shown.add_argument("--model", metavar="ORG/MODEL", help="default: a placeholder")
    shown.set_defaults(run=_show)
    fits = commands.add_parser(
        "fit", help="whether a model fits a host, in each mode", allow_abbrev=False
    )
    fits.add_argument("model", metavar="ORG/MODEL")
    fits.add_argument("--mode", metavar="MODE", help="this mode only")
    fits.add_argument("--hosts", type=int, help="hosts of one replica; default: the settings'")
    fits.set_defaults(run=_fit)
    for parser in (shown, fits):
        parser.add_argument(
            "--data",
            metavar="KEY=VALUE",
            action="append",
            default=[],
            help="a setting, as in pyinfra's --data; may be repeated",
        )
        parser.add_argument("--json", action="store_true", help="for programs")


def _where(key: str) -> str:
    return "command line"


def _data(options: argparse.Namespace) -> dict[str, object]:
    """Settings of the fleet for all hosts, then what the command line says."""
    data = group_data.serving()
    data.setdefault("vllm_image", _IMAGE)
    if not data["vllm_image"]:
        data["vllm_image"] = _IMAGE
    return {**data, **_given(options)}


def _given(options: argparse.Namespace) -> dict[str, object]:
    return {key: group_data.value(text) for key, text in group_data.pairs(options.data).items()}


def _serving(data: dict[str, object]) -> Serving:
    """The release's inputs; a model without a lock has placeholders where facts are missing."""
    try:
        return serving.load(data, _where)
    except SettingsError:
        repo = data.get("vllm_model")
        if not isinstance(repo, str) or models.is_locked(repo):
            raise
    return serving.load(data, _where, lock=show.unlocked(repo))


def _show(options: argparse.Namespace) -> int:
    data = {**_data(options), "vllm_mode": options.mode}
    if options.model:
        data["vllm_model"] = options.model
    chosen = _serving(data)
    files = render.release(chosen).files
    result = footprint.memory(chosen)
    if options.json:
        print(json.dumps(_as_json(chosen, files, result), indent=1, ensure_ascii=False))
    else:
        _print(chosen, files, result)
    return 0 if result is None or result.verdict != "refused" else 1


def _as_json(chosen: Serving, files: Any, result: Fit | None) -> dict[str, Any]:
    return {
        "mode": chosen.vllm_mode,
        "model": chosen.vllm_model,
        "command": show.command_line(chosen),
        "files": dict(files),
        "memory": show.fit_json(result) if result else None,
    }


def _print(chosen: Serving, files: Any, result: Fit | None) -> None:
    print(f"mode {chosen.vllm_mode}: {chosen.mode.purpose}")
    print(f"model {chosen.vllm_model}, {_pinned(chosen)}\n")
    print(show.command_line(chosen))
    for name in _FILES:
        print(f"\n--- {name}\n{files[name]}", end="")
    print("\n--- memory of a GB10 host")
    if result is None:
        model = chosen.vllm_model
        print(f"unknown: {model} has no lock; make one with: fleet lock {model}")
    else:
        _print_fit(result)


def _pinned(chosen: Serving) -> str:
    if not chosen.model.files:
        return f"not locked ({show.COMMIT} stands for its commit)"
    return f"commit {chosen.model.revision}, {chosen.model.size / 2**30:.1f} GiB"


def _print_fit(result: Fit) -> None:
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column()
    table.add_column(justify="right")
    for row in show.arithmetic(result):
        table.add_row(*row)
    tables.show(table)
    print(f"{result.verdict}: {result.problem}" if result.problem else result.verdict)
    for remedy in result.remedies:
        print(f"would fit: {remedy}")


def _fit(options: argparse.Namespace) -> int:
    data = {**_data(options), "vllm_model": options.model}
    if not known_models.known(options.model):
        models.load(options.model, place="command line")
    hosts = options.hosts
    if hosts is not None and not 1 <= hosts <= MOST_HOSTS:
        raise SettingsError(f"--hosts: found {hosts}, allowed: 1 to {MOST_HOSTS}")
    wanted = [options.mode] if options.mode else modes.names()
    rows = [(name, *_verdict({**data, "vllm_mode": name}, hosts)) for name in wanted]
    if options.json:
        print(json.dumps([_fit_row(*row) for row in rows], indent=1))
    else:
        _print_verdicts(rows)
    return 0 if any(result and result.verdict == "fits" for _, result, _ in rows) else 1


def _verdict(data: dict[str, object], hosts: int | None) -> tuple[Fit | None, str]:
    """The arithmetic, or why the mode does not take the model at all."""
    try:
        return footprint.memory(_serving(data), hosts), ""
    except SettingsError as error:
        return None, error.problems[0].removeprefix("command line: ")


def _fit_row(mode: str, result: Fit | None, problem: str) -> dict[str, Any]:
    fitted = show.fit_json(result) if result else {"verdict": "refused", "problem": problem}
    return {"mode": mode, **fitted}


def _print_verdicts(rows: list[tuple[str, Fit | None, str]]) -> None:
    table = tables.headed("mode", "verdict", "at once", "context", "why")
    for mode, result, problem in rows:
        if result is None:
            table.add_row(mode, "refused", "-", "-", problem)
        else:
            why = "; ".join(filter(None, [result.problem, *result.remedies]))
            table.add_row(
                mode, result.verdict, f"{result.concurrent:.1f}", str(result.context), why
            )
    tables.show(table)
