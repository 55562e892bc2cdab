"""Files and links that survive a power loss: written aside, flushed, renamed."""

from __future__ import annotations

import json
import os
from pathlib import Path


def write_json(path: Path, value: object, *, flush: bool = True) -> None:
    """Replace ``path`` by ``value`` as JSON; with ``flush`` it is on disk when this returns.

    Parents are made. Raises OSError (disk full, read-only).
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    with aside.open("w", encoding="utf-8") as file:
        json.dump(value, file, sort_keys=True)
        file.write("\n")
        file.flush()
        if flush:
            os.fsync(file.fileno())
    aside.replace(path)
    if flush:
        flush_directory(path.parent)


def read_json(path: Path) -> dict[str, object] | None:
    """The object in ``path``; None if there is none or it is not a JSON object."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return None
    return value if isinstance(value, dict) else None


def link(path: Path, target: str | None) -> None:
    """Point ``path`` at ``target`` in one rename; None removes the link."""
    if target is None:
        path.unlink(missing_ok=True)
    elif not path.is_symlink() or os.readlink(path) != target:
        aside = path.with_name(f".{path.name}.{os.getpid()}")
        aside.unlink(missing_ok=True)
        aside.symlink_to(target)
        aside.replace(path)
    flush_directory(path.parent)


def flush_directory(path: Path) -> None:
    """Put the names in a directory on disk (a rename is durable only after this)."""
    handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def flush_tree(path: Path) -> None:
    """Put every file below ``path`` and the directories' names on disk."""
    for folder, _, names in os.walk(path):
        for name in names:
            with open(os.path.join(folder, name), "rb") as file:
                os.fsync(file.fileno())
        flush_directory(Path(folder))
