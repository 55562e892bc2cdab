"""``fleet settings``: every key there is."""

from __future__ import annotations

import argparse
from typing import Any

from fleet import reference, tables


def add(commands: Any) -> None:
    """Add the command to ``commands``."""
    listing = commands.add_parser(
        "settings", help="every setting of a host: allowed values, default, meaning",
        allow_abbrev=False,
    )  # fmt: skip
    listing.add_argument("--markdown", action="store_true", help="as docs/settings.md has it")
    listing.set_defaults(run=_settings)


def _settings(options: argparse.Namespace) -> int:
    if options.markdown:
        print(reference.markdown(), end="")
        return 0
    for title, rows in reference.sections().items():
        table = tables.headed("key", "default", "meaning")
        for row in rows:
            table.add_row(
                row.key, "must be set" if row.default is None else row.default, row.meaning
            )
        print(f"\n{title}\n")
        tables.show(table)
    return 0
