"""The ``fleet`` command: everything that touches no host. Deploys are pyinfra's."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from typing import Any

from fleet import (
    cli_bundle,
    cli_ca,
    cli_import,
    cli_measure,
    cli_models,
    cli_seed,
    cli_settings,
    cli_show,
    modes,
    tables,
)
from fleet.combine import whole_number
from fleet.problems import SettingsError

REFUSED = 1  # a value is wrong, or something does not fit; 2 is a wrong command line


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit code."""
    options = _parser().parse_args(argv)
    try:
        code: int = options.run(options)
        sys.stdout.flush()
        return code
    except SettingsError as error:
        for line in error.problems:
            print(line, file=sys.stderr)
        return REFUSED
    except BrokenPipeError:  # the reader, such as head, has seen enough
        _say_no_more()
        return 0
    except OSError as error:
        place = error.filename or ("standard output" if error.errno else "fleet")
        print(f"{place}: {error.strerror or ' '.join(str(error).split())}", file=sys.stderr)
        _say_no_more()
        return REFUSED


def _say_no_more() -> None:
    """Python writes what is left to say once more at its end, and would tell that it cannot."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="fleet",
        description="Modes, models and memory, without touching a host. "
        "To change hosts: pyinfra inventory.py deploy.py",
        allow_abbrev=False,
    )
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    listing = commands.add_parser("modes", help="the modes there are", allow_abbrev=False)
    listing.add_argument("--json", action="store_true", help="for programs")
    listing.set_defaults(run=_modes)
    cli_show.add(commands)
    cli_models.add(commands)
    cli_import.add(commands)
    cli_settings.add(commands)
    cli_seed.add(commands)
    cli_measure.add(commands)
    cli_ca.add(commands)
    cli_bundle.add(commands)
    return parser


def _modes(options: argparse.Namespace) -> int:
    rows = [_row(name) for name in modes.names()]
    if options.json:
        print(json.dumps(rows, indent=1))
        return 0
    table = tables.headed("mode", "memory", "context", "requests", "needs", "purpose")
    for row in rows:
        memory = f"{row['memory_fraction']:.2f}" if row["memory_fraction"] else "-"
        needs = ", ".join(row["needs"]) or "-"
        cells = [str(row["context"] or "-"), str(row["requests"] or "-"), needs, row["purpose"]]
        table.add_row(row["mode"], memory, *cells)
    tables.show(table)
    return 0


def _row(name: str) -> dict[str, Any]:
    mode = modes.load(name)
    return {
        "mode": name,
        "purpose": mode.purpose,
        "suits": list(mode.suits),
        "needs": list(mode.needs),
        "memory_fraction": mode.memory_fraction,
        "context": whole_number(mode.args.get("max-model-len")),
        "requests": whole_number(mode.args.get("max-num-seqs")),
        "ready_timeout_s": mode.ready_timeout_s,
        "drain_timeout_s": mode.drain_timeout_s,
        "stall_timeout_s": mode.stall_timeout_s,
    }


if __name__ == "__main__":
    sys.exit(main())
