"""``fleet show`` and ``fleet fit``: what a mode does with a model."""

from __future__ import annotations

import argparse
import json
from typing import Any

from rich.table import Table

from fleet import (
    footprint,
    group_data,
    known_models,
    models,
    modes,
    render,
    serving,
    settings,
    show,
    tables,
)
from fleet.case import facts
from fleet.fit import MOST_HOSTS, Fit, split
from fleet.problems import SettingsError
from fleet.serve import ServeSettings
from fleet.serving import Serving, Where

_IMAGE = "no-image-chosen@sha256:" + "0" * 64
_SIZES = {"tensor_parallel", "pipeline_parallel", "data_parallel"}
_FILES = ("vllm.yaml", "vllm.env", "compose.yaml", "release.json")


def add(commands: Any) -> None:
    """Add the two commands to ``commands``."""
    shown = commands.add_parser(
        "show",
        help="what a mode does with a model: command line, config, environment, compose, memory",
        allow_abbrev=False,
    )
    shown.add_argument("mode", metavar="MODE")
    shown.add_argument(
        "--model", metavar="ORG/MODEL", help="default: vllm_model of group_data/all.py"
    )
    shown.set_defaults(run=_show)
    fits = commands.add_parser(
        "fit", help="whether a model fits a host, in each mode", allow_abbrev=False
    )
    fits.add_argument("model", metavar="ORG/MODEL")
    fits.add_argument("--mode", metavar="MODE", help="this mode only")
    fits.set_defaults(run=_fit)
    for parser in (shown, fits):
        parser.add_argument(
            "--hosts", type=int, metavar="N", help="hosts of one replica; default: the settings'"
        )
        parser.add_argument(
            "--data",
            metavar="KEY=VALUE",
            action="append",
            default=[],
            help="a setting, as in pyinfra's --data; may be repeated",
        )
        parser.add_argument("--json", action="store_true", help="for programs")


def _asked(options: argparse.Namespace, **named: object) -> tuple[dict[str, object], Where]:
    """The fleet's settings for all hosts, then what the command line says; and who says what."""
    words = group_data.pairs(options.data)
    said = {**{key: group_data.value(text) for key, text in words.items()}, **named}
    other = settings.Data.model_fields.keys() - ServeSettings.model_fields.keys()
    data = {
        key: found for key, found in {**group_data.serving(), **said}.items() if key not in other
    }
    data["vllm_image"] = data.get("vllm_image") or _IMAGE
    hosts = options.hosts
    if hosts is not None and not 1 <= hosts <= MOST_HOSTS:
        raise SettingsError(f"--hosts: found {hosts}, allowed: 1 to {MOST_HOSTS}")
    if hosts is not None and not said.keys() & _SIZES:
        data = {key: found for key, found in data.items() if key not in _SIZES}
    return data, lambda key: "command line" if key in said else f"group_data/{group_data.ALL.name}"


def _serving(data: dict[str, object], where: Where, hosts: int | None) -> Serving:
    """The release's inputs, for a replica of ``hosts``, else as large as its sizes say."""
    if hosts is None or data.keys() & _SIZES:
        return _load(data, where, hosts)
    tensor, pipeline = split(facts(_load(data, where, 1).model), hosts)
    sizes = {"tensor_parallel": tensor, "pipeline_parallel": pipeline}
    return _load({**data, **sizes}, where, hosts)


def _load(data: dict[str, object], where: Where, gpus: int | None) -> Serving:
    """A model without a lock has placeholders where facts are missing."""
    try:
        return serving.load(data, where, gpus=gpus)
    except SettingsError:
        repo = data.get("vllm_model")
        if not isinstance(repo, str) or models.is_locked(repo):
            raise
    return serving.load(data, where, gpus=gpus, lock=show.unlocked(repo))


def _show(options: argparse.Namespace) -> int:
    named = {"vllm_model": options.model} if options.model else {}
    data, where = _asked(options, vllm_mode=options.mode, **named)
    chosen = _serving(data, where, options.hosts)
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
    data, where = _asked(options, vllm_model=options.model)
    if not known_models.known(options.model):
        models.load(options.model, place="command line")
    wanted = [options.mode] if options.mode else modes.names()
    rows = [(name, *_verdict({**data, "vllm_mode": name}, where, options.hosts)) for name in wanted]
    if options.json:
        print(json.dumps([_fit_row(*row) for row in rows], indent=1))
    else:
        _print_verdicts(rows)
    return 0 if any(result and result.verdict == "fits" for _, result, _ in rows) else 1


def _verdict(data: dict[str, object], where: Where, hosts: int | None) -> tuple[Fit | None, str]:
    """The arithmetic, or why the mode does not take the model at all."""
    try:
        return footprint.memory(_serving(data, where, hosts)), ""
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
