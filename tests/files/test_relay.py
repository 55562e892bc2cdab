"""Hosts that pass files on: real sockets on loopback, each address a host."""

from __future__ import annotations

import hashlib
import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import zip_longest
from pathlib import Path

import pytest
from errors import HostError
from relay_client import CONNECT_S, Client, Source
from relay_server import Server
from shelf import Item, Shelf

SECRET = "s"
CONTENT = os.urandom(3_000_000)
SHA256 = hashlib.sha256(CONTENT).hexdigest()
SELF = "127.0.0.1"


def empty(place: Path) -> Shelf:
    return Shelf([Item(SHA256, len(CONTENT), place / SHA256, place / f"{SHA256}.fanout")])


def filled(place: Path) -> Shelf:
    place.mkdir(parents=True, exist_ok=True)
    (place / SHA256).write_bytes(CONTENT)
    item = Item(SHA256, len(CONTENT), place / SHA256, place / "none", len(CONTENT))
    return Shelf([item])


@contextmanager
def serving(shelf: Shelf, *, allowed: tuple[str, ...] = (SELF,)) -> Iterator[int]:
    server = Server((SELF, 0), shelf, SECRET, allowed)
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()


def take(shelf: Shelf, *ports: int, secret: str = SECRET, patience_s: float = 2.0) -> bytes:
    sources = [Source(SELF, port, False) for port in ports]
    item = shelf.items[SHA256]
    Client(shelf, secret, sources, patience_s, begin_s=0).fetch(item, lambda: None)
    return item.path.read_bytes()


def test_a_part_that_is_a_link_is_not_written_through(tmp_path: Path) -> None:
    shelf = empty(tmp_path / "b")
    (tmp_path / "b").mkdir()
    (tmp_path / "theirs").write_bytes(b"theirs")
    (tmp_path / "b" / f"{SHA256}.fanout").symlink_to(tmp_path / "theirs")
    with serving(filled(tmp_path / "a")) as port, pytest.raises(OSError, match="symbolic links"):
        take(shelf, port)
    assert (tmp_path / "theirs").read_bytes() == b"theirs"


def test_a_file_comes_over_and_what_is_there_already_is_not_sent(tmp_path: Path) -> None:
    shelf = empty(tmp_path / "b")
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / f"{SHA256}.fanout").write_bytes(CONTENT[:1_000_001])
    with serving(filled(tmp_path / "a")) as port:
        assert take(shelf, port) == CONTENT


def test_a_host_passes_on_what_still_comes_in(tmp_path: Path) -> None:
    middle, last = empty(tmp_path / "b"), empty(tmp_path / "c")
    got: list[bytes] = []
    with serving(filled(tmp_path / "a")) as first, serving(middle) as second:
        waiting = threading.Thread(target=lambda: got.append(take(last, second)))
        waiting.start()
        assert take(middle, first) == CONTENT
        waiting.join(20)
    assert got == [CONTENT]


def test_an_address_that_is_not_listed_gets_not_a_byte(tmp_path: Path) -> None:
    with serving(filled(tmp_path / "a"), allowed=("192.0.2.1",)) as port:
        with socket.create_connection((SELF, port), 5) as stranger:
            assert stranger.recv(99) == b""
        with pytest.raises(HostError, match="no other host can be reached at TCP port"):
            take(empty(tmp_path / "b"), port)


def test_who_does_not_know_the_secret_gets_nothing(tmp_path: Path) -> None:
    with (
        serving(filled(tmp_path / "a")) as port,
        pytest.raises(HostError, match="no host has sent a byte"),
    ):
        take(empty(tmp_path / "b"), port, secret="t")
    assert (tmp_path / "b" / f"{SHA256}.fanout").stat().st_size == 0


def test_where_nobody_listens_it_is_told_in_seconds(tmp_path: Path) -> None:
    with serving(Shelf([])) as port:
        pass
    began = time.monotonic()
    with pytest.raises(HostError, match=f"no other host can be reached at TCP port {port}"):
        take(empty(tmp_path / "b"), port, patience_s=60)
    assert time.monotonic() - began < 2 * CONNECT_S


def test_the_next_file_is_asked_for_while_one_still_comes(tmp_path: Path) -> None:
    contents = {hashlib.sha256(text).hexdigest(): text for text in (CONTENT, b"", b"2", b"three")}
    here, there = tmp_path / "a", tmp_path / "b"
    here.mkdir()
    given, taken = Shelf([]), Shelf([])
    for sha256, text in contents.items():
        (here / sha256).write_bytes(text)
        given.items[sha256] = Item(sha256, len(text), here / sha256, here / "none", len(text))
        taken.items[sha256] = Item(sha256, len(text), there / sha256, there / f"{sha256}.fanout")
    items = list(taken.items.values())
    with serving(given) as port:
        client = Client(taken, SECRET, [Source(SELF, port, False)], 2.0, begin_s=0)
        for item, following in zip_longest(items, items[1:]):
            client.fetch(item, lambda: None, following)
    assert {sha256: (there / sha256).read_bytes() for sha256 in contents} == contents


def test_a_source_without_the_file_is_left_for_one_that_has_it(tmp_path: Path) -> None:
    other = Shelf([])
    with serving(other) as port, serving(filled(tmp_path / "a")) as good:
        assert take(empty(tmp_path / "b"), port, good, patience_s=30) == CONTENT
