"""The fleet's defaults in group_data/all.py, for commands that show what they would do."""

from __future__ import annotations

import ast
import json
import runpy
from collections.abc import Iterable
from pathlib import Path

from fleet import settings
from fleet.problems import SettingsError, shown, suggestion
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
        raise SettingsError(unreadable(f"group_data/{path.name}", error)) from None
    unknown = settings.own_keys(found).keys() & assigned(path) - settings.names()
    if unknown:
        raise SettingsError(
            *(f"group_data/{path.name}: {key}: unknown key{suggestion(key, settings.names())}"
              for key in sorted(unknown))
        )  # fmt: skip
    return {key: found[key] for key in keys if key in found}


def assigned(path: Path) -> set[str]:
    """The names that a file of Python gives a value itself: not what it imports, nor a loop's."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    targets = [
        target
        for node in ast.walk(tree)
        if isinstance(node, ast.Assign | ast.AnnAssign | ast.AugAssign)
        for target in (node.targets if isinstance(node, ast.Assign) else [node.target])
    ]
    names = (name for target in targets for name in ast.walk(target))
    return {name.id for name in names if isinstance(name, ast.Name)}


def unreadable(place: str, error: BaseException) -> str:
    """The line for a file of Python that cannot be run."""
    reason = f"{type(error).__name__}: {error}".splitlines()[0]
    return f"{place}: cannot be read: {reason}"


def pairs(words: Iterable[str]) -> dict[str, str]:
    """The KEY=VALUE words of --data; SettingsError for one that is none."""
    found = {}
    for text in words:
        key, separator, said = text.partition("=")
        if not separator or not key:
            raise SettingsError(f"--data: found {shown(text)}, allowed: KEY=VALUE")
        found[key] = said
    return found


def value(text: str) -> object:
    """The value of KEY=VALUE, as pyinfra reads --data."""
    try:
        return json.loads(text)
    except ValueError:
        return {"true": True, "false": False}.get(text.lower(), text)
