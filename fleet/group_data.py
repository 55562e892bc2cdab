"""The fleet's defaults in group_data/all.py, for commands that show what they would do."""

from __future__ import annotations

import json
import runpy
from collections.abc import Iterable
from pathlib import Path

from fleet.problems import SettingsError
from fleet.serve import ServeSettings

ALL = Path(__file__).parent.parent / "group_data" / "all.py"


def serving(path: Path = ALL) -> dict[str, object]:
    """The serving settings in ``path``; none where it is absent."""
    return values(ServeSettings.model_fields, path)


def values(keys: Iterable[str], path: Path = ALL) -> dict[str, object]:
    """What ``path`` says of ``keys``; nothing where it is absent."""
    if not path.is_file():
        return {}
    try:
        found = runpy.run_path(str(path))
    except Exception as error:
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
        raise SettingsError(f"group_data/{path.name}: cannot be read: {reason}") from None
    return {key: found[key] for key in keys if key in found}


def value(text: str) -> object:
    """The value of KEY=VALUE, as pyinfra reads --data."""
    try:
        return json.loads(text)
    except ValueError:
        return {"true": True, "false": False}.get(text.lower(), text)
