"""One host takes a whole model from others: placed as the Hub cache lays it out, and as locked."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import fetch_model
import hub_container
import layout
import pytest
import take_model
import weights
from errors import HostError
from model_request import PART, Request
from relay_client import Client, Source
from relay_server import Server
from shelf import Shelf
from weights import LockedFile

SELF, SECRET, REVISION = "127.0.0.1", "s", "0" * 40
TEXTS = {"config.json": b"{}", "copy.json": b"{}", "empty": b"", "sub/a.bin": os.urandom(99_999)}
MODEL = "models--org--name"
SNAPSHOT = f"{MODEL}/snapshots/{REVISION}"
FILES = tuple(LockedFile(p, len(t), hashlib.sha256(t).hexdigest()) for p, t in TEXTS.items())


@pytest.fixture(autouse=True)
def record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layout, "VERIFIED", tmp_path / "verified.json")


def request(place: Path) -> Request:
    return Request(place / "hub", "org/name", REVISION, FILES, "", "", place / "none")


def having(place: Path) -> Shelf:
    asked = request(place)
    for path, text in TEXTS.items():
        (asked.folder / path).parent.mkdir(parents=True, exist_ok=True)
        (asked.folder / path).write_bytes(text)
    assert weights.check(asked.folder, FILES).whole
    return take_model.shelf_of(asked)


@contextmanager
def serving(*shelves: Shelf) -> Iterator[list[Source]]:
    servers = [Server((SELF, 0), shelf, SECRET, [SELF]) for shelf in shelves]
    try:
        yield [Source(SELF, server.server_address[1], False) for server in servers]
    finally:
        for server in servers:
            server.shutdown()
            server.server_close()


def take(place: Path, sources: list[Source]) -> Request:
    asked = request(place)
    shelf = take_model.shelf_of(asked)
    take_model.take(asked, shelf, Client(shelf, SECRET, sources, 5, begin_s=0))
    return asked


def test_every_file_lies_where_the_hub_cache_has_it(tmp_path: Path) -> None:
    with serving(having(tmp_path / "a")) as sources:
        asked = take(tmp_path / "b", sources)
    for path, text in TEXTS.items():
        link = asked.folder / path
        assert link.read_bytes() == text and link.is_symlink()
        assert link.resolve().parent == asked.blobs.resolve()
    assert not list(asked.blobs.glob("*.fanout"))
    assert not weights.changed(asked.folder, FILES)


def test_only_what_is_missing_is_asked_for(tmp_path: Path) -> None:
    having(tmp_path / "b")
    asked = request(tmp_path / "b")
    (asked.folder / "sub/a.bin").unlink()
    lacks = [i.size for i in take_model.shelf_of(asked).items.values() if not i.settled]
    assert lacks == [99_999]
    with serving(having(tmp_path / "a")) as sources:
        take(tmp_path / "b", sources)


@pytest.mark.parametrize(
    "linked", [MODEL, f"{MODEL}/blobs", f"{MODEL}/snapshots", f"{SNAPSHOT}/sub"]
)
def test_nothing_is_written_behind_a_folder_that_is_a_link(tmp_path: Path, linked: str) -> None:
    theirs, asked = tmp_path / "theirs", request(tmp_path / "b")
    theirs.mkdir()
    (theirs / "x.incomplete").touch()
    (theirs / f"x{PART}").touch()
    place = asked.hub / linked
    place.parent.mkdir(parents=True)
    place.symlink_to(theirs)
    with (
        serving(having(tmp_path / "a")) as sources,
        pytest.raises(HostError, match=f"{place}: found a link to {theirs}, allowed: a folder; "),
    ):
        take(tmp_path / "b", sources)
    assert sorted(path.name for path in theirs.iterdir()) == [f"x{PART}", "x.incomplete"]


NO_DOCKER = pytest.mark.skipif(shutil.which("docker") is None, reason="it asks Docker first")


@pytest.mark.parametrize(
    "work", [fetch_model.drop_parts, pytest.param(hub_container.clear, marks=NO_DOCKER)]
)
def test_no_part_is_removed_behind_a_folder_that_is_a_link(
    tmp_path: Path, work: Callable[[Request], None]
) -> None:
    theirs, asked = tmp_path / "theirs", request(tmp_path / "b")
    parts = (theirs / f"x{PART}", theirs / "x.12345678.incomplete")
    theirs.mkdir()
    for part in parts:
        part.touch()
    asked.blobs.parent.mkdir(parents=True)
    asked.blobs.symlink_to(theirs)
    with pytest.raises(HostError, match="found a link"):
        work(asked)
    assert all(part.exists() for part in parts)


def test_bytes_that_are_not_as_locked_are_set_aside_and_taken_from_another(tmp_path: Path) -> None:
    bad, good = having(tmp_path / "a"), having(tmp_path / "c")
    (request(tmp_path / "a").folder / "sub/a.bin").write_bytes(b"x" * 99_999)
    with serving(bad, good) as sources:
        asked = take(tmp_path / "b", sources)
    assert (asked.folder / "sub/a.bin").read_bytes() == TEXTS["sub/a.bin"]
    assert [p.read_bytes()[:1] for p in asked.blobs.glob("*.corrupt")] == [b"x"]
