"""Record a real vLLM for the stand-in: its flags and its metric families.

usage: python standin_record.py flags > standin/flags.json          with that vLLM's Python
       python standin_record.py environment > standin/environment.json
       python standin_record.py families < METRICS > standin/families.json    METRICS: /metrics
One row a flag: [names, kind, nargs, choices]; kinds: bool (--x and --no-x), flag (--x), int,
float, size (16M), json, str. One row a family: [name, type, help, label sets, buckets].
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Callable, Sequence
from typing import Any

LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')

SIZES = {"human_readable_int", "human_readable_int_or_auto"}
OBJECTS = {"loads", "parse_dataclass"}


def type_name(kind: Any) -> str:
    """The name of an argparse ``type``; vLLM wraps optional ones in a closure."""
    name = getattr(kind, "__name__", "str")
    if name == "_optional_type":
        inner = [cell.cell_contents for cell in kind.__closure__ or ()]
        name = next((type_name(each) for each in inner if callable(each)), "str")
    return str(name)


def kind_of(action: argparse.Action) -> str:
    """Which of the kinds above an action is."""
    if isinstance(action, argparse.BooleanOptionalAction):
        return "bool"
    if action.nargs == 0:
        return "flag"
    name = type_name(action.type)
    if name in ("int", "float"):
        return name
    return "size" if name in SIZES else "json" if name in OBJECTS else "str"


def entry(action: argparse.Action) -> list[object]:
    """One row of flags.json."""
    names = [name for name in action.option_strings if not name.startswith("--no-")]
    choices = [str(choice) for choice in action.choices] if action.choices else None
    nargs = action.nargs if isinstance(action.nargs, str) else None
    return [names, kind_of(action), nargs, choices]


def flags() -> list[list[object]]:
    """The table of the vLLM that this Python has."""
    from vllm.entrypoints.launchers.cli_args import (  # type: ignore[import-not-found]
        make_arg_parser,
    )
    from vllm.utils.argparse_utils import (  # type: ignore[import-not-found]
        FlexibleArgumentParser,
    )

    parser = make_arg_parser(FlexibleArgumentParser(prog="vllm serve"))
    rows = [entry(each) for each in parser._actions if each.option_strings]
    return [row for row in rows if "--help" not in row[0]]  # type: ignore[operator]


def environment() -> list[str]:
    """The VLLM_* names that this vLLM knows."""
    from vllm import envs  # type: ignore[import-not-found]

    return sorted(name for name in envs.environment_variables if name.startswith("VLLM_"))


def families(text: str) -> list[list[object]]:
    """The table of the vllm: families in a /metrics text, without the _created gauges."""
    helps = dict(re.findall(r"^# HELP (vllm:\S+) (.*)$", text, re.MULTILINE))
    kinds = re.findall(r"^# TYPE (vllm:\S+) (\w+)$", text, re.MULTILINE)
    return [
        [name, kind, helps[name], *samples(text, name, kind)]
        for name, kind in kinds
        if not name.endswith("_created")
    ]


def samples(text: str, name: str, kind: str) -> list[list[object]]:
    """The label sets and, for a histogram, the bucket bounds of one family."""
    suffix = "_bucket" if kind == "histogram" else ""
    found = re.findall(rf"^{name}{suffix}\{{(.*)\}} ", text, re.MULTILINE)
    sets: list[object] = []
    buckets: list[object] = []
    for line in found:
        labels = dict(LABEL.findall(line))
        if bound := labels.pop("le", None):
            buckets.append(bound)
        if labels not in sets:
            sets.append(labels)
    return [sets, buckets]


def main() -> None:
    """Print the table asked for, one row a line."""
    tables: dict[str, Callable[[], Sequence[object]]] = {"flags": flags, "environment": environment}
    kind = (sys.argv[1:] or [""])[0]
    rows: Sequence[object] = tables[kind]() if kind in tables else families(sys.stdin.read())
    print("[\n" + ",\n".join(json.dumps(row) for row in rows) + "\n]")


if __name__ == "__main__":
    main()
