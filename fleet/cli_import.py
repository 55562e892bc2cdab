"""``fleet import``: a recipe of sparkrun or eugr as a mode of ours."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import yaml

from fleet import modes, recipes, yamlfile
from fleet.modes import Mode
from fleet.problems import SettingsError, shown
from fleet.recipes import Imported


def add(commands: Any) -> None:
    """Add the command to ``commands``."""
    imports = commands.add_parser(
        "import",
        help="a recipe of sparkrun (version 2) or eugr (version 1) as a mode",
        allow_abbrev=False,
    )
    imports.add_argument("file", type=Path, metavar="FILE", help="the recipe, YAML")
    imports.add_argument("--name", help="of the mode; default: the recipe's file name")
    imports.add_argument("--dry", action="store_true", help="show the mode, write nothing")
    imports.set_defaults(run=_import)


def _import(options: argparse.Namespace) -> int:
    found = recipes.read(yamlfile.read(options.file, str(options.file)), str(options.file))
    name = options.name or _name(options.file.stem)
    if not modes.NAME.fullmatch(name) or len(name) > 60:
        raise SettingsError(
            f"--name: found {shown(name)}, allowed: words of a-z, 0-9 joined by '-'"
        )
    yamlfile.validate(Mode, found.mode, str(options.file))
    text = f"# Imported from {options.file.name!r}\n" + yaml.safe_dump(found.mode, sort_keys=False)
    if not options.dry:
        _write(modes.MODES / f"{name}.yaml", text)
    _tell(name, text, found)
    return 0


def _name(stem: str) -> str:
    words = "".join(letter if letter.isalnum() else " " for letter in stem.lower()).split()
    return "-".join(words)


def _write(path: Path, text: str) -> None:
    """A new file only: a mode that exists was tuned by somebody."""
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        raise SettingsError(f"modes/{path.name}: is there already; choose another --name") from None


def _tell(name: str, text: str, found: Imported) -> None:
    print(f"--- modes/{name}.yaml\n{text}\n--- settings that go with it")
    print(yaml.safe_dump({"vllm_mode": name, **found.settings}, sort_keys=False), end="")
    for line in found.left:
        print(f"not carried over: {line}")
    revision = f" --revision {found.revision}" if found.revision else ""
    print(f"next: fleet lock {found.settings['vllm_model']}{revision}")
