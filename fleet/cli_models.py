"""``fleet lock``: what is served, pinned: a model by commit and hashes, an image by digest."""

from __future__ import annotations

import argparse
import json
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
    locks.add_argument(
        "--golden",
        type=Path,
        metavar="EVIDENCE",
        help="take the greedy answers of a proved host into the lock: its file in evidence/",
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
    path = models.MODELS / models.file_name(repo)
    if options.golden:
        return _write(path, lock.text(_with_golden(repo, options.golden)), check=options.check)
    asked = hub.from_environment(os.environ, options.token_file)
    made = hub.make_lock(asked, repo, options.revision)
    return _write(path, lock.text(_keeping_golden(made)), check=options.check)


def _with_golden(repo: str, evidence: Path) -> models.ModelLock:
    """The lock there is, with the answers in ``evidence``; they must be of the same revision."""
    try:
        body = json.loads(evidence.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise SettingsError(f"{evidence}: cannot be used: {error}") from None
    revision, answers = lock.recorded(body, repo, str(evidence))
    known = models.load(repo, place="command line", key="model")
    if known.revision != revision:
        raise SettingsError(
            f"{evidence}: found revision {revision}, allowed: the lock's, {known.revision}"
        )
    return known.model_copy(update={"golden": answers})


def _keeping_golden(made: models.ModelLock) -> models.ModelLock:
    """Recorded answers hold as long as the revision is the same."""
    if not models.is_locked(made.repo):
        return made
    known = models.load(made.repo)
    return made.model_copy(
        update={"golden": known.golden if known.revision == made.revision else None}
    )


def _write(path: Path, text: str, *, check: bool) -> int:
    change = lock.diff(path.read_text() if path.is_file() else "", text, f"models/{path.name}")
    if not change:
        print(f"models/{path.name} is as it should be")
        return 0
    sys.stdout.write(change)
    if check:
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
