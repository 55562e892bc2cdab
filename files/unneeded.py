"""Finds, and on request removes, the weights and images that no kept release of this host needs.

A model is ours by our record of having been asked for it; models of other tools stay. Travels on
stdin together with its siblings. Done twice, it finds nothing.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import command
import hostlock
import layout
import weights
from errors import exit_code
from thing import Thing

MIB = 1 << 20


def things(request: dict[str, Any]) -> list[Thing]:
    """What could go, with its size. Nothing is changed."""
    needed = "".join(texts())
    snapshots = [*request["snapshots"]]
    found = [
        thing
        for name in sorted(path.name for path in layout.MODELS.glob("models--*"))
        for thing in model(Path(request["hub"], name), needed, snapshots)
    ]
    return [*found, *images(needed, request["image"])]


def texts() -> Iterator[str]:
    """What the releases that lie here say they need; kept ones only, activation prunes the rest."""
    for name in ("vllm.yaml", "release.json"):
        for path in layout.RELEASES.glob(f"*/{name}"):
            yield path.read_text(errors="replace")


def model(folder: Path, needed: str, declared: list[str]) -> Iterator[Thing]:
    """The commits of one model that nobody needs, and what was set aside."""
    kept: list[Path] = []
    idle: list[Path] = []
    for snapshot in sorted((folder / "snapshots").glob("*")):
        name = f"{folder.name}/snapshots/{snapshot.name}"
        used = name in needed or name in declared or downloading(snapshot.name)
        (kept if used else idle).append(snapshot)
    used_blobs = {blob for snapshot in kept for blob in blobs(snapshot)}
    for snapshot in idle:
        gone = blobs(snapshot) - used_blobs
        text = f"weights {folder.name} at {snapshot.name[:12]}: {megabytes(gone)}"
        last = not kept and snapshot == idle[-1]
        yield Thing(text, partial(remove_model, folder) if last else partial(drop, snapshot, gone))
    if kept and (aside := set((folder / "blobs").glob("*.corrupt"))):
        text = f"set aside in {folder.name}: {megabytes(aside)}"
        yield Thing(text, partial(unlink, aside))


def downloading(revision: str) -> bool:
    """Whether a download of that commit runs now."""
    name = f"name=vllm-fleet-download-{revision[:12]}"
    return bool(command.run(["docker", "ps", "--quiet", "--filter", name]).strip())


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
    (layout.MODELS / snapshot.parent.parent.name / f"{snapshot.name}.json").unlink(missing_ok=True)


def unlink(paths: set[Path]) -> None:
    for path in paths:
        path.unlink(missing_ok=True)


def images(needed: str, declared: str) -> Iterator[Thing]:
    """Older digests of the images that we serve from; one with a tag was pulled by somebody."""
    ours = {declared.partition("@")[0]}
    ours |= {word.partition("@")[0] for word in needed.split('"') if "@sha256:" in word}
    columns = "{{.Repository}} {{.Tag}} {{.Digest}} {{.Size}}"
    lines = command.run(["docker", "images", "--digests", "--format", columns]).splitlines()
    used = command.run(["docker", "ps", "--all", "--format", "{{.Image}}"]).split()
    for repository, tag, digest, size in (line.split(maxsplit=3) for line in lines):
        reference = f"{repository}@{digest}"
        if repository not in ours or tag != "<none>" or digest == "<none>":
            continue
        if reference != declared and reference not in needed and reference not in used:
            remove = partial(command.run, ["docker", "image", "rm", reference], timeout=300)
            yield Thing(f"image {reference}: {size}", remove)


def prune(request: dict[str, Any]) -> list[str]:
    """Remove all of it under the host's lock; returns what went."""
    owner = hostlock.owner(request["who"], request["origin"], "prune")
    hostlock.take(owner, break_it=bool(request["break_lock"]))
    try:
        found = things(request)
        for thing in found:
            thing.remove()
        os.sync()
    finally:
        hostlock.free()
    return [thing.text for thing in found]


def main(request: dict[str, Any]) -> None:
    """Print {"found": [...]} or, with "go", {"removed": [...]} as one JSON line.

    Keys: hub, snapshots (FOLDER/snapshots/COMMIT of the declared models), image (the declared one),
    go, who, origin, break_lock.
    """

    def work() -> int:
        if request["go"]:
            print(json.dumps({"removed": prune(request)}), flush=True)
        else:
            print(json.dumps({"found": [t.text for t in things(request)]}), flush=True)
        return 0

    sys.exit(exit_code("prune", work))
