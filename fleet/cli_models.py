"""``fleet lock``: what is served, pinned."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import Any

from fleet import hub, lock, models
from fleet.problems import SettingsError


def add(commands: Any) -> None:
    """Add the commands to ``commands``."""
    locks = commands.add_parser(
        "lock",
        help="pin a model: its commit, every file with size and sha256, what its config says",
        allow_abbrev=False,
    )
    locks.add_argument("model", metavar="ORG/MODEL")
    locks.add_argument("--revision", default="main", help="branch, tag or commit; default: main")
    locks.add_argument(
        "--token-file", type=Path, help="file with a Hub token; default: as huggingface_hub looks"
    )
    locks.add_argument(
        "--check", action="store_true", help="show what would change, write nothing; 1 if anything"
    )
    locks.set_defaults(run=_lock)


def _lock(options: argparse.Namespace) -> int:
    try:
        repo = models.repo_name(options.model)
    except ValueError as error:
        raise SettingsError(f"command line: found {options.model!r}, {error}") from None
    asked = hub.from_environment(os.environ, options.token_file)
    text = lock.text(hub.make_lock(asked, repo, options.revision))
    path = models.MODELS / models.file_name(repo)
    change = lock.diff(path.read_text() if path.is_file() else "", text, f"models/{path.name}")
    if not change:
        print(f"models/{path.name} is as the Hub says")
        return 0
    sys.stdout.write(change)
    if options.check:
        return 1
    part = path.with_suffix(".part")
    part.write_text(text)
    part.replace(path)
    print(f"wrote models/{path.name}; commit it")
    return 0
