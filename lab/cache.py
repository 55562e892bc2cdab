"""Artefacts that are built once: each is a directory named by the digest of what went into it."""

import fcntl
import hashlib
import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from lab import overlay
from lab.paths import cache_dir
from lab.progress import step

UNUSED_DAYS = 3


def artefact(name: str, inputs: object, build: Callable[[Path], None]) -> Path:
    """The directory of artefact ``name`` for ``inputs``; built by ``build(empty_dir)`` if missing.

    ``inputs`` is anything JSON can hold (paths and bytes count by their text): what decides the
    content, so versions, package lists, ``digest_of()`` the source files. Two processes that want
    the same artefact build it once. A build that is killed leaves nothing that counts as built.
    The directory is shared and must not be changed by its users.
    """
    shelf = cache_dir() / name
    shelf.mkdir(parents=True, exist_ok=True)
    ready = shelf / key(inputs)
    with locked(shelf / f"{ready.name}.lock"):
        if not ready.is_dir():
            remove_unused(shelf)
            with step(f"building {name} (kept in the cache)"):
                make(ready, build)
        os.utime(ready)
    return ready


def key(inputs: object) -> str:
    """First 16 hex digits of the sha256 of ``inputs`` as JSON."""
    text = json.dumps(inputs, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def digest_of(*paths: Path) -> str:
    """sha256 over names and contents of files, and of all files below directories."""
    digest = hashlib.sha256()
    for path in paths:
        for file in [path] if path.is_file() else sorted(path.rglob("*")):
            if file.is_file() and "__pycache__" not in file.parts:
                content = hashlib.sha256(file.read_bytes()).hexdigest()
                digest.update(f"{file.relative_to(path.parent)} {content}\n".encode())
    return digest.hexdigest()


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold an exclusive lock on ``path``; the kernel lets it go if this process dies."""
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def make(ready: Path, build: Callable[[Path], None]) -> None:
    """Build beside ``ready`` and rename: a directory of that name is always complete."""
    for leftover in ready.parent.glob(f"{ready.name}.part-*"):
        discard(leftover)
    part = Path(tempfile.mkdtemp(prefix=f"{ready.name}.part-", dir=ready.parent))
    part.chmod(0o755)
    try:
        build(part)
        part.rename(ready)
    finally:
        if part.exists():
            discard(part)


def discard(part: Path) -> None:
    """Remove an unfinished build. Builders mount /proc and /dev in it: never walk into those."""
    overlay.unmount(part)
    shutil.rmtree(part, ignore_errors=True)  # what a killed builder started may still write there


def remove_unused(shelf: Path) -> None:
    """Drop versions that nobody has asked for in days and no running lab has mounted."""
    mounts = Path("/proc/self/mounts").read_text()
    for old in [path for path in shelf.iterdir() if path.is_dir()]:
        unused = time.time() - old.stat().st_mtime > UNUSED_DAYS * 86400
        if unused and str(old) not in mounts:
            shutil.rmtree(old)
            old.with_name(f"{old.name}.lock").unlink(missing_ok=True)
