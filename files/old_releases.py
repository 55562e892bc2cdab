"""Removes releases that nobody needs: current, previous and the newest others stay."""

from __future__ import annotations

import shutil

import journal
import layout
import release as releases
from errors import Refused


def drop(keep: int) -> dict[str, object]:
    """Remove all releases but the needed ones and ``keep`` more, the newest by staging time.

    Returns the kept ones with the image and model each needs (not to be removed either).
    """
    needed = needed_digests()
    others = [
        path.name
        for path in sorted(
            layout.RELEASES.glob("*/release.json"), key=lambda path: -path.stat().st_mtime
        )
        for path in [path.parent]
        if path.name not in needed
    ]
    for digest in others[keep:]:
        shutil.rmtree(layout.RELEASES / digest)
    return {
        "kept": [needs(digest) for digest in [*needed, *others[:keep]]],
        "removed": others[keep:],
    }


def needed_digests() -> list[str]:
    """What the links name, and what an unfinished activation works with."""
    found = [releases.linked(layout.CURRENT), releases.linked(layout.PREVIOUS)]
    activation = journal.load()
    if activation is not None and not activation.outcome:
        found += [activation.release, activation.before, activation.before_previous]
    return list(dict.fromkeys(digest for digest in found if digest))


def needs(digest: str) -> dict[str, str]:
    """What a kept release needs to start again; an unreadable one needs nothing."""
    try:
        release = releases.read(digest)
    except Refused:
        return {"digest": digest}
    return {
        "digest": digest,
        "image": release.image,
        "model": release.model,
        "revision": release.revision,
    }
