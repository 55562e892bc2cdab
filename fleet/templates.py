"""How the texts in templates/ are rendered, everywhere the same; a value that is missing raises."""

from __future__ import annotations

from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

FOLDER = Path(__file__).parent.parent / "templates"


def environment(below: str = ".", *, escape: bool = False) -> Environment:
    """For the templates in the folder ``below`` templates/; ``escape``: values become HTML text."""
    return Environment(
        loader=FileSystemLoader(FOLDER / below),
        undefined=StrictUndefined,
        keep_trailing_newline=True,
        trim_blocks=True,
        lstrip_blocks=True,
        autoescape=escape,
    )
