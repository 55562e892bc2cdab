"""Are a model's files on this host whole? Compared with the lock by sha256, remembered by inode.

A file whose real path, inode, size and modification time are as when it was last found good is not
read again. The record lies outside the cache, which other tools may write to.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import durable
import layout
from errors import HostError

CHUNK = 1 << 20
Tell = Callable[[int], None]


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

    @property
    def wanted(self) -> tuple[str, ...]:
        """What has to be fetched."""
        return self.missing + self.corrupt


def snapshot_dir(hub: Path, repo: str, revision: str) -> Path:
    """Where the Hub cache layout keeps a revision's files."""
    return model_dir(hub, repo) / "snapshots" / revision


def model_dir(hub: Path, repo: str) -> Path:
    """A repository's folder in the Hub cache layout."""
    return hub / ("models--" + repo.replace("/", "--"))


def check(
    folder: Path,
    files: Iterable[LockedFile],
    *,
    deep: bool = False,
    tell: Tell = lambda _: None,
) -> Answer:
    """Compare every file with the lock; ``deep`` reads all of them again.

    ``tell`` gets the bytes that were read since it was last called, from several threads.
    """
    files = tuple(files)
    record = {} if deep else load_record().get(str(folder), {})
    marks = {f.path: mark(folder / f.path) for f in files}
    missing = tuple(path for path, found in marks.items() if not found)
    present = [f for f in files if marks[f.path]]
    unknown = [f for f in present if record.get(f.path) != [f.sha256, *marks[f.path]]]
    good = _compare(folder, unknown, tell)
    corrupt = tuple(f.path for f in unknown if not good[f.path])
    whole = [f for f in present if f.path not in corrupt]
    _remember(folder, {f.path: [f.sha256, *marks[f.path]] for f in whole})
    return Answer(missing, corrupt)


def changed(folder: Path, files: Iterable[LockedFile]) -> tuple[str, ...]:
    """The files that are not as when they were last found good; reads none of them."""
    record = load_record().get(str(folder), {})
    return tuple(f.path for f in files if record.get(f.path) != [f.sha256, *mark(folder / f.path)])


def require_own(hub: Path, folder: Path) -> None:
    """HostError where ``folder``, or one between it and ``hub``, is a link. Of the Hub cache only
    the files of a snapshot are links; what is done below another would be done elsewhere."""
    for part in (folder, *folder.parents):
        if part == hub:
            return
        if part.is_symlink():
            raise HostError(
                f"{part}: found a link to {os.readlink(part)}, allowed: a folder; "
                "remove the link and run again"
            )


def set_aside(folder: Path, paths: Iterable[str]) -> None:
    """Take bad files of a snapshot out of the cache, kept beside it under ``.corrupt`` for a look.

    HostError where that would reach out of the model.
    """
    hub = folder.parents[2]
    for path in paths:
        require_own(hub, (folder / path).parent)
        blob = own_blob(folder, folder / path)
        if blob and blob.exists():  # two names of the same content share one
            os.replace(blob, blob.with_name(blob.name + ".corrupt"))
        (folder / path).unlink(missing_ok=True)


def own_blob(snapshot: Path, path: Path) -> Path | None:
    """The file that ``path`` of a snapshot stands for; None where that is no file of the model.

    Whoever may write to the cache, over NFS another machine, may lay a link to any file: nothing is
    moved or removed by it.
    """
    blob, model = path.resolve(), snapshot.parent.parent.resolve()
    return blob if blob.is_relative_to(model) else None


def load_record() -> dict[str, dict[str, list[object]]]:
    """Folder → path → [sha256, inode, size, mtime in ns] of files found good."""
    record = durable.read_json(layout.VERIFIED) or {}  # without it all files are read again
    return {folder: paths for folder, paths in record.items() if isinstance(paths, dict)}


def mark(path: Path) -> list[int]:
    """Inode, size, modification time in ns; empty where there is no such file."""
    try:
        found = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return []
    return [found.st_ino, found.st_size, found.st_mtime_ns]


def _remember(folder: Path, good: Mapping[str, list[object]]) -> None:
    with _record_lock():
        record = load_record()
        if record.get(str(folder)) != good:
            durable.write_json(layout.VERIFIED, {**record, str(folder): dict(good)})


@contextmanager
def _record_lock() -> Iterator[None]:
    """Two models may be checked at the same time, and have one record."""
    layout.VERIFIED.parent.mkdir(parents=True, exist_ok=True)
    with layout.VERIFIED.with_suffix(".lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _compare(folder: Path, files: list[LockedFile], tell: Tell) -> dict[str, bool]:
    """Path → whether its bytes are as locked. sha256 leaves the interpreter's lock, so threads use
    all cores; the largest files first, so that none of them is left to run alone at the end."""
    order = sorted(files, key=lambda f: -f.size)
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        good = pool.map(lambda f: _good(folder / f.path, f, tell), order)
        return dict(zip((f.path for f in order), good, strict=True))


def _good(path: Path, wanted: LockedFile, tell: Tell) -> bool:
    if path.stat().st_size != wanted.size:
        return False
    digest = hashlib.sha256()
    buffer = bytearray(CHUNK)
    view = memoryview(buffer)
    with path.open("rb", buffering=0) as file:
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_SEQUENTIAL)
        while size := file.readinto(buffer):
            digest.update(view[:size])
            tell(size)
        if digest.hexdigest() != wanted.sha256:
            return False
        os.fsync(file.fileno())  # what is remembered as good is on the disk, not only in memory
        # The server's GPU memory comes out of the same memory, and the cache gives way too late.
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    return True
