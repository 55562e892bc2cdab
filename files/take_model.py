"""One host's part in a fan-out: ``take_model.py REQUEST.json LINKS.json``.

Takes the model's files from the other hosts, passes them on meanwhile, compares all with the lock
(bad ones are set aside and taken again), tells systemd that it is ready, and serves the others
until nobody has asked for ``IDLE_S``. Exit status 1: the last line says why.

LINKS.json: {"listen": [addresses], "port", "secret", "allowed": [addresses],
"sources": [[address, settled], ...] from the best on; none on the host that has it already}.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import zip_longest
from pathlib import Path

import check_model
import fetch_model
import model_request
import notify
import weights
from errors import HostError, exit_code
from model_lock import alone
from model_request import PART, Request
from relay_client import Client, Source
from relay_server import serve, stay
from shelf import Item, Shelf

ROUNDS = 3
PATIENCE_S = 60.0
IDLE_S = 600.0
TELL_S = 5.0


def shelf_of(request: Request) -> Shelf:
    """Every content of the lock once: where it lies, or where it is going to."""
    good = set(request.files) - _changed(request)
    items: dict[str, Item] = {}
    for file in sorted(request.files, key=lambda file: file.path):
        part = request.blobs / f"{file.sha256}{PART}"
        if file in good:
            there = (request.folder / file.path).resolve()
            items[file.sha256] = Item(file.sha256, file.size, there, part, file.size)
        elif file.sha256 not in items:
            item = Item(file.sha256, file.size, request.blobs / file.sha256, part)
            item.ready = item.size if _is(item.path, item.size) else 0
            items[file.sha256] = item
    return Shelf(list(items.values()))


def _changed(request: Request) -> set[weights.LockedFile]:
    paths = set(weights.changed(request.folder, request.files))
    return {file for file in request.files if file.path in paths}


def _is(path: Path, size: int) -> bool:
    return path.is_file() and path.stat().st_size == size


class Progress:
    """A line every few seconds."""

    def __init__(self, request: Request, shelf: Shelf) -> None:
        self._request, self._shelf = request, shelf
        self._began = self._told = time.monotonic()
        self._had = shelf.ready

    def __call__(self) -> None:
        now = time.monotonic()
        if now - self._told < TELL_S:
            return
        self._told = now
        ready, size = self._shelf.ready, self._shelf.size
        rate = max(ready - self._had, 1) / (now - self._began)
        print(
            f"{self._request.repo}: {ready >> 20} of {size >> 20} MiB from other hosts, "
            f"{rate / 1e6:.1f} MB/s, {(size - ready) / rate:.0f} s left",
            flush=True,
        )


def take(request: Request, shelf: Shelf, client: Client) -> None:
    """Fetch what is missing, put it in place, compare; HostError when that does not end whole."""
    progress = Progress(request, shelf)
    answer = weights.Answer((), ())
    for _ in range(ROUNDS):
        _room(request, shelf)
        with ThreadPoolExecutor(1) as checks:  # what has come is checked while the rest comes
            for item, following in _wanted(shelf):
                request.require_own()
                client.fetch(item, progress, following)
                place(request, item)
                checks.submit(weights.check, request.folder, _settled(request, shelf))
        place(request)
        answer = check_model.check(request)
        if answer.whole:
            return
        client.refuse_current()
        for file in request.files:
            if file.path in answer.wanted:
                shelf.grow(shelf.items[file.sha256], 0)
    raise HostError(f"{request.repo}: not as locked: {check_model.shown(answer.wanted)}")


def _wanted(shelf: Shelf) -> Iterator[tuple[Item, Item | None]]:
    """Each item that is missing, and the one after it."""
    items = [item for item in shelf.items.values() if not item.settled]
    return zip_longest(items, items[1:])


def _settled(request: Request, shelf: Shelf) -> tuple[weights.LockedFile, ...]:
    return tuple(file for file in request.files if shelf.items[file.sha256].settled)


def _room(request: Request, shelf: Shelf) -> None:
    lacks = {item.sha256: item for item in shelf.items.values() if not item.settled}
    had = sum(item.part.stat().st_size for item in lacks.values() if item.part.exists())
    paths = {file.sha256: file.path for file in request.files if file.sha256 in lacks}
    fetch_model.require_room(request, tuple(paths.values()), had=had)


def place(request: Request, item: Item | None = None) -> None:
    """The snapshot's links to the contents (of one item, or of all), as the Hub cache lays them
    out. HostError where one would come to lie elsewhere."""
    for file in request.files:
        link = request.folder / file.path
        if item and item.sha256 != file.sha256:
            continue
        if not link.exists() and (request.blobs / file.sha256).exists():
            weights.require_own(request.hub, link.parent)
            link.parent.mkdir(parents=True, exist_ok=True)
            link.unlink(missing_ok=True)
            link.symlink_to(os.path.relpath(request.blobs / file.sha256, link.parent))


def main() -> int:
    request = model_request.read(Path(sys.argv[1]))
    links = json.loads(Path(sys.argv[2]).read_text())
    shelf = shelf_of(request)
    servers = serve(links, shelf)
    sources = [Source(address, links["port"], settled) for address, settled in links["sources"]]
    if sources:
        with alone(request):
            take(request, shelf, Client(shelf, links["secret"], sources, PATIENCE_S))
    elif shelf.ready < shelf.size:
        raise HostError(f"{request.repo}: is to be given to the others, and is not whole here")
    print(f"{request.repo}: {len(request.files)} files are whole", flush=True)
    notify.notify(READY=1)
    stay(servers, IDLE_S)
    return 0


if __name__ == "__main__":
    sys.exit(exit_code("take_model", main))
