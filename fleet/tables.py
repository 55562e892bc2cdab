"""Tables on a terminal, or in a pipe."""

from __future__ import annotations

import sys

from rich.console import Console
from rich.table import Table

_PIPE_WIDTH = 120  # columns where there is no terminal to ask


def headed(*heads: str) -> Table:
    """A table without rules, with ``heads`` above its columns; nothing in it is cut off."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for head in heads:
        table.add_column(head, overflow="fold")
    return table


def show(table: Table) -> None:
    """Print ``table``."""
    width = None if sys.stdout.isatty() else _PIPE_WIDTH
    console = Console(width=width, markup=False, highlight=False)
    with console.capture() as text:  # Console.print ends the program when a pipe breaks
        console.print(table)
    print(text.get(), end="")
