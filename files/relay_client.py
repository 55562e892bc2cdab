"""Takes files from other hosts of a fan-out: from the host before it in the chain, and when that
one is gone or has nothing for a while, from the next one that has more."""

from __future__ import annotations

import json
import os
import socket
import struct
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import BinaryIO

from errors import HostError
from relay_server import ABSENT, BEAT_S, FRAME, LINE, code
from shelf import Item, Shelf

CONNECT_S = 3.0
SILENT_S = 5 * BEAT_S  # nothing, not even a sign of life
STARVED_S = 20.0  # alive, but without a byte for us
PAUSE_S = 0.5
BEGIN_S = 10.0  # all hosts begin at about the same time: the one before us may not listen yet
TRIED = 5  # hosts that are given CONNECT_S each, after that, before none counts as reachable
GROW_S = 0.005  # how often those behind us hear of new bytes: waking them costs more than the bytes


@dataclass(frozen=True)
class Source:
    """A host to ask. ``settled``: only for files that it has whole, as it is behind us."""

    address: str
    port: int
    settled: bool


class Gone(Exception):
    """This source does not help now."""


class Client:
    """Fills ``shelf`` from ``sources``, the best first. ``patience_s`` without a byte from any of
    them ends it with HostError; much sooner where none of them can be reached at all."""

    def __init__(
        self,
        shelf: Shelf,
        secret: str,
        sources: list[Source],
        patience_s: float,
        begin_s: float = BEGIN_S,
    ) -> None:
        self._shelf, self._secret, self._sources = shelf, secret, sources
        self._patience_s, self._begin_s = patience_s, begin_s
        self._socket: socket.socket | None = None
        self._stream: BinaryIO | None = None
        self._challenge = ""
        self._ahead: tuple[str, int] | None = None  # asked for while another one still comes
        self._reached = False
        self._at = 0  # the source in use
        self._began = self._fed = time.monotonic()
        self._buffer = memoryview(bytearray(FRAME))

    def fetch(self, item: Item, tell: Callable[[], None], following: Item | None = None) -> None:
        """All of one file, going on where its part ends. Not compared with its sha256.

        ``following`` is asked for meanwhile, so that the line never lies idle between files.
        """
        item.part.parent.mkdir(parents=True, exist_ok=True)
        with open(item.part, "ab", buffering=0, opener=_no_link) as part:
            if part.tell() > item.size:
                part.truncate(0)
            self._shelf.grow(item, part.tell())
            while item.ready < item.size:
                try:
                    self._take(item, part, tell, following)
                except (Gone, OSError, ValueError, struct.error) as error:
                    self._next(str(error))
        item.part.replace(item.path)

    def refuse_current(self) -> None:
        """What it sent was wrong: ask another one, if there is one."""
        self._hang_up()
        self._at = (self._at + 1) % len(self._sources)

    def _next(self, why: str) -> None:
        self._hang_up()
        now, last = time.monotonic(), self._sources[self._at]
        reach_s = self._begin_s + CONNECT_S * min(len(self._sources), TRIED)
        if not self._reached and now - self._began > min(reach_s, self._patience_s):
            raise HostError(
                f"no other host can be reached at TCP port {last.port} ({last.address}: {why}); "
                "open it between the hosts, or set fan_out to false"
            )
        if now - self._fed > self._patience_s:
            raise HostError(
                f"no host has sent a byte for {self._patience_s:.0f} s, the last one asked: "
                f"{last.address}: {why}; what came is kept: run again"
            )
        if now - self._began > self._begin_s:
            self._at = (self._at + 1) % len(self._sources)
        if self._at == 0:
            time.sleep(PAUSE_S)

    def _take(
        self, item: Item, part: BinaryIO, tell: Callable[[], None], following: Item | None
    ) -> None:
        source = self._sources[self._at]
        stream = self._connected(source)
        began = time.monotonic()
        if self._ahead != (item.sha256, item.ready):
            if self._ahead:
                raise Gone("it was asked for another file")
            self._ask(item.sha256, item.ready, source)
        self._ahead = None
        if following and (had := following.had) < following.size:
            self._ask(following.sha256, had, source)
            self._ahead = following.sha256, had
        while item.ready < item.size:
            [count] = struct.unpack(">I", _exactly(stream, 4))
            if count == ABSENT or count > FRAME or item.ready + count > item.size:
                raise Gone("it does not have it")
            if count:
                self._receive(stream, item, part, count)
            elif time.monotonic() - max(self._fed, began) > STARVED_S:
                raise Gone("it waits for others itself")
            tell()

    def _receive(self, stream: BinaryIO, item: Item, part: BinaryIO, count: int) -> None:
        view, fresh, ready = self._buffer[:count], 0, item.ready
        while view:
            got = stream.readinto1(view)  # type: ignore[attr-defined]
            if not got:
                raise Gone("the connection broke")
            part.write(view[:got])
            view, fresh = view[got:], fresh + got
            now = time.monotonic()
            if not view or now - self._fed > GROW_S:
                self._fed = now
                ready += fresh
                fresh = 0
                self._shelf.grow(item, ready)

    def _connected(self, source: Source) -> BinaryIO:
        if self._stream is None:
            self._socket = socket.create_connection((source.address, source.port), CONNECT_S)
            self._socket.settimeout(SILENT_S)
            self._stream = self._socket.makefile("rb")
            self._challenge = self._stream.readline(LINE).decode().strip()
            if not self._challenge:
                raise Gone("it refused us")
            self._reached = True
        return self._stream

    def _ask(self, sha256: str, offset: int, source: Source) -> None:
        proof = code(self._secret, self._challenge, sha256, offset, source.settled)
        asked = {"sha256": sha256, "offset": offset, "settled": source.settled}
        assert self._socket is not None  # _connected made it
        self._socket.sendall(json.dumps({**asked, "code": proof}).encode() + b"\n")

    def _hang_up(self) -> None:
        for each in (self._stream, self._socket):
            if each is not None:
                each.close()
        self._stream = self._socket = self._ahead = None


def _no_link(path: str, flags: int) -> int:
    """In a cache that others may write to a link could lead anywhere."""
    return os.open(path, flags | os.O_NOFOLLOW, 0o644)


def _exactly(stream: BinaryIO, count: int) -> bytes:
    found = stream.read(count)
    if len(found) != count:
        raise Gone("the connection broke")
    return found
