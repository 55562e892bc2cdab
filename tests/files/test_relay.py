"""Hosts that pass files on: real sockets on loopback, each address a host."""

from __future__ import annotations

import hashlib
import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from errors import HostError
from relay_client import Client, Source
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
        with pytest.raises(HostError, match="no host has sent a byte"):
            take(empty(tmp_path / "b"), port)


def test_who_does_not_know_the_secret_gets_nothing(tmp_path: Path) -> None:
    with (
        serving(filled(tmp_path / "a")) as port,
        pytest.raises(HostError, match="no host has sent a byte"),
    ):
        take(empty(tmp_path / "b"), port, secret="t")
    assert (tmp_path / "b" / f"{SHA256}.fanout").stat().st_size == 0


def test_a_source_without_the_file_is_left_for_one_that_has_it(tmp_path: Path) -> None:
    other = Shelf([])
    with serving(other) as port, serving(filled(tmp_path / "a")) as good:
        assert take(empty(tmp_path / "b"), port, good, patience_s=30) == CONTENT
