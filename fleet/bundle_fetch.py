"""Download files into a bundle: resumed where it broke off, checked by hash, with progress."""

from __future__ import annotations

import hashlib
import shutil
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import requests

from fleet import bundle
from fleet.bundle import Bundle, Entry
from fleet.http import CONNECT_S, READ_S, Client, check_url
from fleet.problems import SettingsError

AT_ONCE = 4
TELL_S = 5.0
_CHUNK = 1 << 20


@dataclass(frozen=True)
class Wanted:
    """A file of a bundle: its ``name`` there, where it is had, how it is known to be right.

    ``headers`` is called for each request, ``renew`` where they are no longer accepted.
    """

    name: str
    url: str
    size: int
    sha256: str
    headers: Callable[[], Mapping[str, str]] = dict
    renew: Callable[[], object] | None = None


class Progress:
    """A line every few seconds on standard error."""

    def __init__(self, kind: str, files: Sequence[Wanted]) -> None:
        self._kind, self._files = kind, len(files)
        self._total, self._done, self._bytes, self._loaded = sum(f.size for f in files), 0, 0, 0
        self._began = self._told = time.monotonic()
        self._lock = threading.Lock()

    def add(self, size: int, *, loaded: bool) -> None:
        with self._lock:
            self._bytes += size
            self._loaded += size if loaded else 0
            if time.monotonic() - self._told >= TELL_S:
                self.tell()

    def file(self) -> None:
        with self._lock:
            self._done += 1

    def tell(self) -> None:
        """Say how far it is."""
        self._told = time.monotonic()
        rate = self._loaded / max(self._told - self._began, 0.001)
        left = f", {(self._total - self._bytes) / rate:.0f} s left" if rate else ""
        print(
            f"{self._kind}: {self._done} of {self._files} files, {self._bytes >> 20} of "
            f"{self._total >> 20} MiB, {rate / 1e6:.1f} MB/s{left}",
            file=sys.stderr,
            flush=True,
        )


def fetch(
    client: Client, folder: Path, known: Bundle, kind: str, files: Sequence[Wanted]
) -> dict[str, Entry]:
    """Bring ``files`` into the bundle in ``folder``; what lies there and is right is kept.

    SettingsError tells of the first that could not be had; the others that came stay.
    """
    unique = {wanted.name: wanted for wanted in files}
    progress = Progress(kind, list(unique.values()))
    _require_room(folder, list(unique.values()))

    def one(wanted: Wanted) -> tuple[str, Entry]:
        entry = _one(client, folder, known.files.get(wanted.name), wanted, progress)
        progress.file()
        return wanted.name, entry

    with ThreadPoolExecutor(AT_ONCE) as pool:
        jobs = [pool.submit(one, w) for w in sorted(unique.values(), key=lambda w: -w.size)]
        try:
            found = dict(job.result() for job in jobs)
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    progress.tell()
    return found


def _require_room(folder: Path, files: Sequence[Wanted]) -> None:
    need = sum(w.size for w in files if not (folder / w.name).is_file())
    free = shutil.disk_usage(folder).free
    if free < need:
        raise SettingsError(
            f"{folder}: found {free >> 20} MiB free, wanted {(need >> 20) + 1} MiB; nothing was "
            "fetched"
        )


def _one(
    client: Client, folder: Path, known: Entry | None, wanted: Wanted, progress: Progress
) -> Entry:
    target = folder / wanted.name
    there = target.stat().st_size if target.is_file() else None
    right = Entry(size=wanted.size, sha256=wanted.sha256)
    if there == wanted.size and (known == right or entry_of(target) == right):
        progress.add(wanted.size, loaded=False)
        return right
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(target.name + ".part")
    _load(client, wanted, part, progress)
    if entry_of(part) != right:
        part.unlink()
        raise SettingsError(f"{wanted.url}: not the bytes that its sha256 promises")
    part.replace(target)
    return right


def _load(client: Client, wanted: Wanted, part: Path, progress: Progress) -> None:
    """All bytes of ``wanted`` in ``part``, tried again with growing pauses."""
    if "Authorization" in wanted.headers():
        check_url(wanted.url)
    for attempt in range(client.tries):
        try:
            _resume(client, wanted, part, progress)
            return
        except (requests.RequestException, ConnectionError) as error:
            if attempt == client.tries - 1:
                why = type(error).__name__
                raise SettingsError(
                    f"{wanted.url}: broke off ({why}), tried {client.tries} times; what came "
                    "stays, run again to go on"
                ) from None
            client.sleep(2.0**attempt)
        except OSError as error:
            raise SettingsError(f"{part}: cannot be written: {error.strerror}") from None


def _resume(client: Client, wanted: Wanted, part: Path, progress: Progress) -> None:
    had = part.stat().st_size if part.is_file() else 0
    if had > wanted.size:
        part.unlink()
        had = 0
    if had == wanted.size and had:
        return
    headers = {**wanted.headers(), "Accept-Encoding": "identity"}
    if had:
        headers["Range"] = f"bytes={had}-"
    with client.session.get(
        wanted.url, headers=headers, timeout=(CONNECT_S, READ_S), stream=True
    ) as reply:
        if reply.status_code in (408, 429) or reply.status_code >= 500:
            raise ConnectionError(f"HTTP {reply.status_code}")
        if reply.status_code == 401 and wanted.renew:
            wanted.renew()
            raise ConnectionError("a new token is needed")
        if reply.status_code not in (200, 206):
            raise SettingsError(f"{wanted.url}: cannot be had: HTTP {reply.status_code}")
        goes_on = reply.status_code == 206
        progress.add(had if goes_on else 0, loaded=False)
        left = wanted.size - (had if goes_on else 0)
        with part.open("ab" if goes_on else "wb") as file:
            for chunk in reply.iter_content(_CHUNK):
                left -= len(chunk)
                if left < 0:
                    raise SettingsError(f"{wanted.url}: sent more than {wanted.size} bytes")
                file.write(chunk)
                progress.add(len(chunk), loaded=True)
    if left:
        raise ConnectionError("ended early")


def entry_of(path: Path) -> Entry:
    """Size and sha256 of a file that is there."""
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return Entry(size=path.stat().st_size, sha256=digest)


def keep(folder: Path, name: str, content: bytes) -> dict[str, Entry]:
    """Write a small file into the bundle."""
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    part.write_bytes(content)
    part.replace(path)
    return {name: entry_of(path)}


def save(folder: Path, found: Bundle) -> None:
    """Write bundle.json in one rename."""
    keep(folder, bundle.MANIFEST, bundle.text(found).encode())
