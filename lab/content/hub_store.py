"""Model repositories as folders ORG--NAME below a few directories, and what a Hub tells of them."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path

LFS_SUFFIXES = (".safetensors", ".bin", ".gguf", ".pt")
LFS_FROM = 10 << 20  # bytes; larger files are always in LFS
CHUNK = 1 << 20


@dataclass(frozen=True)
class Entry:
    """One file: where it lies here, and its names by content."""

    path: str
    place: Path
    size: int
    sha256: str
    blob: str  # git's sha1

    @property
    def lfs(self) -> bool:
        """Whether the Hub keeps it in LFS."""
        return self.path.endswith(LFS_SUFFIXES) or self.size >= LFS_FROM

    @property
    def etag(self) -> str:
        """What huggingface_hub names the cached file."""
        return self.sha256 if self.lfs else self.blob

    def pointer(self) -> bytes:
        """The LFS pointer that git holds in place of the file."""
        oid = f"oid sha256:{self.sha256}\nsize {self.size}\n"
        return f"version https://git-lfs.github.com/spec/v1\n{oid}".encode()

    def listed(self) -> dict[str, object]:
        """As in a tree listing."""
        found: dict[str, object] = {"type": "file", "path": self.path, "size": self.size}
        if not self.lfs:
            return {**found, "oid": self.blob}
        size = len(self.pointer())
        lfs = {"oid": self.sha256, "size": self.size, "pointerSize": size}
        return {**found, "oid": git_name(self.pointer()), "lfs": lfs}

    def sibling(self) -> dict[str, object]:
        """As in model info with ``blobs=true``."""
        found: dict[str, object] = {"rfilename": self.path, "size": self.size}
        if not self.lfs:
            return {**found, "blobId": self.blob}
        size = len(self.pointer())
        lfs = {"sha256": self.sha256, "size": self.size, "pointerSize": size}
        return {**found, "blobId": git_name(self.pointer()), "lfs": lfs}


def git_name(content: bytes) -> str:
    """git's name of a file's content."""
    head = b"blob %d\0" % len(content)
    return hashlib.sha1(head + content, usedforsecurity=False).hexdigest()


@lru_cache(maxsize=4096)
def names(place: Path, size: int, mtime_ns: int) -> tuple[str, str]:
    """sha256 and git's sha1 of a file; read again only when it changed."""
    sha256 = hashlib.sha256()
    sha1 = hashlib.sha1(b"blob %d\0" % size, usedforsecurity=False)
    with place.open("rb") as file:
        while chunk := file.read(CHUNK):
            sha256.update(chunk)
            sha1.update(chunk)
    return sha256.hexdigest(), sha1.hexdigest()


def entry(path: str, place: Path) -> Entry:
    """The file at ``place`` under its name in the repository."""
    status = place.stat()
    sha256, blob = names(place, status.st_size, status.st_mtime_ns)
    return Entry(path, place, status.st_size, sha256, blob)


@dataclass(frozen=True)
class Repo:
    """A repository with one commit. ``access``: open, gated or private."""

    name: str
    folder: Path
    access: str = "open"

    @cached_property
    def entries(self) -> dict[str, Entry]:
        """Its files by path."""
        found = sorted(path for path in self.folder.rglob("*") if path.is_file())
        return {
            str(path.relative_to(self.folder)): entry(str(path.relative_to(self.folder)), path)
            for path in found
        }

    @cached_property
    def commit(self) -> str:
        """40 hex digits over names and contents."""
        lines = [f"{each.blob} {path}\n" for path, each in sorted(self.entries.items())]
        return hashlib.sha1("".join(lines).encode(), usedforsecurity=False).hexdigest()

    def has(self, revision: str) -> bool:
        """Whether a branch or commit of that name is here."""
        return revision in ("main", "refs/heads/main", self.commit)

    def info(self, blobs: bool) -> dict[str, object]:
        """Model info, as /api/models/ORG/NAME tells it."""
        every = self.entries.values()
        siblings = [each.sibling() if blobs else {"rfilename": each.path} for each in every]
        return {
            "_id": self.commit[:24],
            "id": self.name,
            "modelId": self.name,
            "author": self.name.partition("/")[0],
            "sha": self.commit,
            "lastModified": "2026-01-01T00:00:00.000Z",
            "createdAt": "2026-01-01T00:00:00.000Z",
            "private": self.access == "private",
            "gated": "manual" if self.access == "gated" else False,
            "disabled": False,
            "downloads": 0,
            "likes": 0,
            "tags": ["safetensors", "llama"],
            "siblings": siblings,
        }

    def folders(self) -> list[str]:
        """Every folder that a file lies in."""
        parents = {str(parent) for path in self.entries for parent in Path(path).parents}
        return sorted(parents - {"."})


class Store:
    """All repositories below some directories; folders that appear later are found too.

    ``access`` says which repositories are not open to everybody: {"lab/gated": "gated"}.
    """

    def __init__(self, directories: list[Path], access: dict[str, str]) -> None:
        self._directories = directories
        self._access = access
        self._known: dict[str, tuple[float, Repo]] = {}

    def repo(self, name: str) -> Repo | None:
        """The repository ``name`` as it is now."""
        folder = name.replace("/", "--")
        for directory in self._directories:
            place = directory / folder
            if name.count("/") == 1 and place.is_dir():
                return self._fresh(name, place)
        return None

    def blob(self, sha256: str) -> Entry | None:
        """The LFS file of that name among the repositories asked for before."""
        for _, repo in self._known.values():
            for each in repo.entries.values():
                if each.sha256 == sha256:
                    return each
        return None

    def _fresh(self, name: str, place: Path) -> Repo:
        changed = max(os.stat(path).st_mtime for path in (place, *place.rglob("*")))
        known = self._known.get(name)
        if known is None or known[0] != changed:
            repo = Repo(name, place, self._access.get(name, "open"))
            known = self._known[name] = (changed, repo)
        return known[1]
