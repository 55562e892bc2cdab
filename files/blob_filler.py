"""Brings an image's blobs when somebody asks for them: from another host, else the registry."""

from __future__ import annotations

import hashlib
import http.client
import threading
import time

from errors import HostError
from registry_client import Registry
from relay_client import Client, Source
from shelf import Item, Shelf

CHUNK = 1 << 18
TRIES, PAUSE_S = 4, 2.0
# The one next to the registry gives up first and goes on with it, and those behind wait for that.
PATIENCE_S, PATIENCE_STEP_S = 25.0, 15.0


class Filler:
    """Fills ``shelf``, a thread for each blob: Docker asks for a few at a time. Without
    ``sources``, and once they have failed, from ``registry``. ``problem``: why it cannot go on."""

    def __init__(
        self, shelf: Shelf, registry: Registry, secret: str, sources: list[Source]
    ) -> None:
        self.problem = ""
        self._shelf, self._registry = shelf, registry
        self._secret, self._sources = secret, sources
        between = sum(not source.settled for source in sources) - 1
        self._patience_s = PATIENCE_S + PATIENCE_STEP_S * between
        self._asked: dict[str, Item] = {}
        self._under_way: set[str] = set()
        self._lock = threading.Lock()
        shelf.want = self._want

    def line(self, seconds: float) -> str:
        """How far it is, for a person."""
        with self._lock:
            asked = list(self._asked.values())
        ready = sum(item.ready for item in asked)
        size = sum(item.size for item in asked)
        where = "other hosts" if self._sources else "the registry"
        rate = ready / max(seconds, 1) / 1e6
        return f"layers asked for: {ready >> 20} of {size >> 20} MiB from {where}, {rate:.1f} MB/s"

    def drop_bad(self) -> list[str]:
        """Throw away each blob that is not what its digest says; the registry gives it anew."""
        bad = [item for item in self._shelf.items.values() if item.settled and not _good(item)]
        for item in bad:
            print(f"sha256:{item.sha256}: not what its digest says; fetched again", flush=True)
            item.path.unlink()
            self._shelf.grow(item, 0)
        if bad:
            self._sources = []
        return [item.sha256 for item in bad]

    def _want(self, item: Item) -> None:
        with self._lock:
            if item.settled or item.sha256 in self._under_way:
                return
            self._asked[item.sha256] = item
            self._under_way.add(item.sha256)
        threading.Thread(target=self._fill, args=(item,), daemon=True).start()

    def _fill(self, item: Item) -> None:
        try:
            self._bring(item)
        except (HostError, OSError) as error:
            self.problem = self.problem or str(error)
        finally:
            with self._lock:
                self._under_way.discard(item.sha256)

    def _bring(self, item: Item) -> None:
        if self._sources:
            client = Client(self._shelf, self._secret, self._sources, self._patience_s)
            try:
                client.fetch(item, lambda: None)
                return
            except HostError as error:
                print(f"{error}; goes on with the registry", flush=True)
                self._sources = []
        self._from_registry(item)

    def _from_registry(self, item: Item) -> None:
        for left in reversed(range(TRIES)):
            try:
                self._read(item)
                item.part.replace(item.path)
                return
            except (HostError, OSError, http.client.HTTPException) as error:
                if not left:
                    raise HostError(f"sha256:{item.sha256}: {error}") from None
            time.sleep(PAUSE_S)

    def _read(self, item: Item) -> None:
        """Go on where its part ends."""
        with (
            item.part.open("ab", buffering=0) as part,
            self._registry.blob(item.sha256, item.had) as answer,
        ):
            if answer.status != 206:
                part.truncate(0)
            self._shelf.grow(item, part.tell() if answer.status == 206 else 0)
            while chunk := answer.read1(CHUNK):
                part.write(chunk)
                self._shelf.grow(item, item.ready + len(chunk))
        if item.ready != item.size:
            raise HostError(f"found {item.ready} bytes, wanted {item.size}")


def _good(item: Item) -> bool:
    with item.path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest() == item.sha256
