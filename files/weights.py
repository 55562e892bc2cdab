"""Are a model's files on this host whole? Compared with the lock by sha256, remembered by inode.

A file whose real path, inode, size and modification time are as when it was last found good is not
read again. The record lies outside the cache, which other tools may write to.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import layout

CHUNK = 1 << 20


@dataclass(frozen=True)
class LockedFile:
    """One file of a model lock; ``size`` in bytes."""

    path: str
    size: int
    sha256: str


@dataclass(frozen=True)
class Answer:
    """Paths relative to the snapshot."""

    missing: tuple[str, ...]
    corrupt: tuple[str, ...]

    @property
    def whole(self) -> bool:
        return not self.missing and not self.corrupt


def snapshot_dir(hub: Path, repo: str, revision: str) -> Path:
    """Where the Hub cache layout keeps a revision's files."""
    return hub / ("models--" + repo.replace("/", "--")) / "snapshots" / revision


def check(folder: Path, files: Iterable[LockedFile], *, deep: bool = False) -> Answer:
    """Compare every file with the lock; ``deep`` reads all of them again."""
    files = tuple(files)
    record = {} if deep else load_record().get(str(folder), {})
    missing = tuple(f.path for f in files if not (folder / f.path).exists())
    present = [f for f in files if f.path not in missing]
    unknown = [f for f in present if record.get(f.path) != [f.sha256, *_mark(folder / f.path)]]
    # sha256 leaves the interpreter's lock, so threads use all cores.
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        good = list(pool.map(lambda f: _good(folder / f.path, f), unknown))
    corrupt = tuple(f.path for f, fine in zip(unknown, good, strict=True) if not fine)
    whole = [f for f in present if f.path not in corrupt]
    _remember(folder, {f.path: [f.sha256, *_mark(folder / f.path)] for f in whole})
    return Answer(missing, corrupt)


def set_aside(folder: Path, paths: Iterable[str]) -> None:
    """Take bad files out of the cache, kept beside it under ``.corrupt`` for a look."""
    for path in paths:
        blob = (folder / path).resolve()
        os.replace(blob, blob.with_name(blob.name + ".corrupt"))
        (folder / path).unlink(missing_ok=True)


def load_record() -> dict[str, dict[str, list[object]]]:
    """Folder → path → [sha256, inode, size, mtime in ns] of files found good."""
    try:
        record = json.loads(layout.VERIFIED.read_text())
    except (FileNotFoundError, ValueError):
        return {}  # all files are read again
    return record if isinstance(record, dict) else {}


def _remember(folder: Path, good: Mapping[str, list[object]]) -> None:
    record = load_record()
    if record.get(str(folder)) == good:
        return
    layout.VERIFIED.parent.mkdir(parents=True, exist_ok=True)
    new = layout.VERIFIED.with_suffix(".new")
    new.write_text(json.dumps({**record, str(folder): dict(good)}, sort_keys=True))
    os.replace(new, layout.VERIFIED)


def _mark(path: Path) -> list[int]:
    found = path.stat()
    return [found.st_ino, found.st_size, found.st_mtime_ns]


def _good(path: Path, wanted: LockedFile) -> bool:
    if path.stat().st_size != wanted.size:
        return False
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            digest.update(chunk)
    return digest.hexdigest() == wanted.sha256
