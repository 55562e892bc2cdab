"""Finds, and on request removes, the weights and images that no kept release of this host needs.

A commit is ours by our record of having been asked for it; models and commits of other tools stay.
Travels on stdin together with its siblings. Done twice, it finds nothing.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import command
import fetched
import hostlock
import layout
from errors import exit_code
from thing import Thing


def things(request: dict[str, Any]) -> list[Thing]:
    """What could go, with its size. Nothing is changed."""
    needed = "".join(texts())
    found = models(request, needed) if request["weights"] else ()
    return [*found, *images(needed, request["image"])]


def texts() -> Iterator[str]:
    """What the releases that lie here say they need; kept ones only, activation prunes the rest."""
    for name in ("vllm.yaml", "release.json"):
        for path in layout.RELEASES.glob(f"*/{name}"):
            yield path.read_text(errors="replace")


def models(request: dict[str, Any], needed: str) -> Iterator[Thing]:
    """The commits of our models that nobody needs, and what was set aside."""
    hub, declared = Path(request["hub"]), request["snapshots"]

    def stays(snapshot: Path) -> bool:
        name = str(snapshot.relative_to(hub))
        return name in needed or name in declared or downloading(snapshot.name)

    for name in sorted(path.name for path in layout.MODELS.glob("models--*")):
        yield from fetched.commits(hub / name, stays)


def downloading(revision: str) -> bool:
    """Whether a download of that commit runs now."""
    name = f"name=vllm-fleet-download-{revision[:12]}"
    return bool(command.run(["docker", "ps", "--quiet", "--filter", name]).strip())


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
        hostlock.free(owner)
    return [thing.text for thing in found]


def main(request: dict[str, Any]) -> None:
    """Print {"found": [...]} or, with "go", {"removed": [...]} as one JSON line.

    Keys: weights (whether to look at them), hub, snapshots (FOLDER/snapshots/COMMIT of the declared
    models), image (the declared one), go, who, origin, break_lock.
    """

    def work() -> int:
        if request["go"]:
            print(json.dumps({"removed": prune(request)}), flush=True)
        else:
            print(json.dumps({"found": [t.text for t in things(request)]}), flush=True)
        return 0

    sys.exit(exit_code("prune", work))
