"""The commits of a model that we brought into the Hub cache, and how they go from it.

A commit is ours by our record of having been asked for it. One that a person fetched beside it
stays, with the blobs that both share.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import layout
import weights
from thing import Thing

MIB = 1 << 20


def model(folder: Path) -> Iterator[Thing]:
    """All of ours in a model's folder, which goes as a whole where nothing of others lies in it."""
    if all(map(recorded, snapshots(folder))):
        yield Thing(f"weights {folder.name}", partial(shutil.rmtree, folder))
    else:
        yield from commits(folder, lambda _: False)


def commits(folder: Path, stays: Callable[[Path], bool]) -> Iterator[Thing]:
    """Our commits of the model in ``folder``, those aside that ``stays`` names, and what was set
    aside. With the last commit of all goes the whole folder."""
    kept: list[Path] = []
    idle: list[Path] = []
    for snapshot in snapshots(folder):
        (idle if recorded(snapshot) and not stays(snapshot) else kept).append(snapshot)
    used_blobs = {blob for snapshot in kept for blob in blobs(snapshot)}
    for snapshot in idle:
        gone = blobs(snapshot) - used_blobs
        text = f"weights {folder.name} at {snapshot.name[:12]}: {megabytes(gone)}"
        last = not kept and snapshot == idle[-1]
        yield Thing(text, partial(remove_model, folder) if last else partial(drop, snapshot, gone))
    if kept and (aside := set((folder / "blobs").glob("*.corrupt"))):
        text = f"set aside in {folder.name}: {megabytes(aside)}"
        yield Thing(text, partial(unlink, aside))


def snapshots(folder: Path) -> list[Path]:
    """The commits that lie in a model's folder; HostError where a link leads out of it."""
    found = sorted((folder / "snapshots").glob("*"))
    for part in (folder / "blobs", folder / "snapshots", *found):
        weights.require_own(folder.parent, part)
    return found


def record(snapshot: Path) -> Path:
    """Where we note that we were asked for this commit."""
    return layout.MODELS / snapshot.parent.parent.name / f"{snapshot.name}.json"


def recorded(snapshot: Path) -> bool:
    return record(snapshot).exists()


def blobs(snapshot: Path) -> set[Path]:
    """The files that a commit's names stand for."""
    names = [path for path in snapshot.rglob("*") if not path.is_dir()]
    return {blob for name in names if (blob := weights.own_blob(snapshot, name))}


def megabytes(paths: set[Path]) -> str:
    size = sum(path.stat().st_size for path in paths if path.exists())
    return f"{size / MIB:.1f} MiB"


def remove_model(folder: Path) -> None:
    """All of it, and our record of it: the commit that went last was its last."""
    shutil.rmtree(folder)
    shutil.rmtree(layout.MODELS / folder.name)


def drop(snapshot: Path, gone: set[Path]) -> None:
    """One commit; blobs that another one shares stay."""
    shutil.rmtree(snapshot)
    unlink(gone)
    record(snapshot).unlink(missing_ok=True)


def unlink(paths: set[Path]) -> None:
    for path in paths:
        path.unlink(missing_ok=True)
