"""``fleet lock``: what is served, pinned: a model by commit and hashes, an image by digest."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import Any

from fleet import hub, lock, models, registry
from fleet.problems import SettingsError


def add(commands: Any) -> None:
    """Add the commands to ``commands``."""
    locks = commands.add_parser(
        "lock",
        help="pin a model (commit, every file with size and sha256, what its config says), "
        "or with the word image: an image (digest)",
        allow_abbrev=False,
    )
    locks.add_argument("model", metavar="ORG/MODEL", help="or: image NAME:TAG")
    locks.add_argument("image", nargs="?", metavar="NAME:TAG", help=argparse.SUPPRESS)
    locks.add_argument(
        "--platform", default="linux/arm64", help="an image must have it; default: linux/arm64"
    )
    locks.add_argument("--revision", default="main", help="branch, tag or commit; default: main")
    locks.add_argument(
        "--token-file", type=Path, help="file with a Hub token; default: as huggingface_hub looks"
    )
    locks.add_argument(
        "--check", action="store_true", help="show what would change, write nothing; 1 if anything"
    )
    locks.set_defaults(run=_lock)


def _lock(options: argparse.Namespace) -> int:
    if options.model == "image":
        return _lock_image(options)
    if options.image:
        raise SettingsError(f"command line: found {options.image!r}, allowed: one ORG/MODEL")
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


def _lock_image(options: argparse.Namespace) -> int:
    wanted = registry.reference(options.image or "")
    print(f'vllm_image = "{registry.Registry().resolve(wanted, options.platform)}"')
    return 0
