"""One program at a time works on a model of this host."""

from __future__ import annotations

import contextlib
import fcntl
from collections.abc import Iterator

import layout
from model_request import Request


@contextlib.contextmanager
def alone(request: Request, *, wait: bool = True) -> Iterator[bool]:
    """Whether this program has the model to itself while the block runs; with ``wait`` always."""
    folder = layout.HUB_TOKENS.parent
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / f"{request.blobs.parent.name}.lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if not wait:
                yield False
                return
            print(f"{request.repo}: waits for another download or check", flush=True)
            fcntl.flock(file, fcntl.LOCK_EX)
        yield True
