"""Which files outside our own folders are ours: by our name, or our mark as their first words."""

from __future__ import annotations

import glob
import re
from collections.abc import Sequence
from pathlib import Path

NAME = "vllm-fleet"
MARK = re.compile(rb"(#|//) (Written|Installed) by (spark-)?vllm-fleet\b")
LINE = 200  # bytes that are looked at


def found(patterns: Sequence[str]) -> list[str]:
    """Those of ours among the paths that fit ``patterns``, sorted."""
    paths = sorted(path for pattern in patterns for path in glob.glob(pattern))
    return [path for path in paths if named(path) or marked(Path(path))]


def named(path: str) -> bool:
    """A mount unit has the name of its folder, which says nothing of whose it is."""
    return NAME in path and not path.endswith(".mount")


def marked(path: Path) -> bool:
    """Whether the text begins by saying that it is ours; a link never does."""
    if not path.is_file() or path.is_symlink():
        return False
    with path.open("rb") as file:
        return MARK.match(file.read(LINE)) is not None
