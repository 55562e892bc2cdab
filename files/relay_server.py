"""Passes files on to the next host of a fan-out while they still come in.

Only listed addresses are answered, on the addresses it was told to listen on, and each request
carries a code made of the run's secret and the connection's own challenge: what is overheard cannot
be used again. An answer is frames: 4 bytes of length, then so many bytes of the file; length 0
says that the sender lives and waits for more itself, ``ABSENT`` that it will not send.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import secrets
import socket
import socketserver
import struct
import sys
import threading
import time
from collections.abc import Iterable
from typing import Any, BinaryIO

from errors import HostError
from shelf import Item, Shelf

FRAME = 1 << 20
BEAT_S = 2.0
QUIET_S = 30.0  # a receiver that takes nothing, or asks for nothing, for so long is gone
ABSENT = 0xFFFFFFFF
LINE = 1024  # bytes of a request
MOST = 64  # connections at once


def code(secret: str, challenge: str, sha256: str, offset: int, settled: bool) -> str:
    """Proves that who asks knows the secret."""
    said = f"{challenge} {sha256} {offset} {settled}".encode()
    return hmac.new(secret.encode(), said, hashlib.sha256).hexdigest()


class Server(socketserver.ThreadingTCPServer):
    """Serves ``shelf`` at one address to ``allowed`` ones. Raises OSError if it cannot listen."""

    allow_reuse_address = True
    daemon_threads = True
    request_queue_size = MOST

    def __init__(
        self, address: tuple[str, int], shelf: Shelf, secret: str, allowed: Iterable[str]
    ) -> None:
        self.shelf, self.secret, self.allowed = shelf, secret, frozenset(allowed)
        self.open = threading.BoundedSemaphore(MOST)
        self.busy = 0
        super().__init__(address, _Sender)
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def verify_request(self, request: Any, client_address: Any) -> bool:
        return client_address[0] in self.allowed

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A receiver that went away asks again, or another host; anything else is told."""
        error = sys.exc_info()[1]
        if not isinstance(error, OSError):
            print(f"serving {client_address[0]}: {type(error).__name__}: {error}", flush=True)


def serve(links: dict[str, Any], shelf: Shelf) -> list[Server]:
    """A server at each address of a host's links; HostError where one cannot be listened on."""
    try:
        return [
            Server((address, links["port"]), shelf, links["secret"], links["allowed"])
            for address in links["listen"]
        ]
    except OSError as error:
        raise HostError(
            f"fan_out_port: {links['port']} cannot be listened on: {error.strerror}; "
            "free it, or set another one"
        ) from None


def stay(servers: list[Server], idle_s: float) -> None:
    """Until nobody has been connected for a while."""
    used = time.monotonic()
    while time.monotonic() - used < idle_s:
        time.sleep(1)
        if any(server.busy for server in servers):
            used = time.monotonic()


class _Sender(socketserver.StreamRequestHandler):
    server: Server
    timeout = QUIET_S
    disable_nagle_algorithm = True  # the end of a file does not wait for an acknowledgement

    def handle(self) -> None:
        if not self.server.open.acquire(blocking=False):
            return
        self.server.busy += 1
        try:
            challenge = secrets.token_hex(16)
            self.wfile.write(f"{challenge}\n".encode())
            while line := self.rfile.readline(LINE):
                if not self._answer(challenge, line):
                    return
        finally:
            self.server.busy -= 1
            self.server.open.release()

    def _answer(self, challenge: str, line: bytes) -> bool:
        """False, and the connection ends, for who does not know the secret."""
        asked = json.loads(line)
        sha256, offset, settled = str(asked["sha256"]), int(asked["offset"]), bool(asked["settled"])
        wanted = code(self.server.secret, challenge, sha256, offset, settled)
        if not hmac.compare_digest(wanted, str(asked["code"])):
            return False
        item = self.server.shelf.items.get(sha256)
        if item is None or offset < 0 or (settled and not item.settled):
            self.wfile.write(struct.pack(">I", ABSENT))
        else:
            self._send(item, offset)
        return True

    def _send(self, item: Item, offset: int) -> None:
        file: BinaryIO | None = None
        self.server.shelf.want(item)
        try:
            while offset < item.size:
                ready = self.server.shelf.wait(item, offset, BEAT_S)
                if ready <= offset:
                    self.wfile.write(struct.pack(">I", 0))
                    continue
                file = file or self.server.shelf.open(item)
                offset = self._frame(file, offset, min(ready - offset, FRAME))
        finally:
            if file:
                file.close()

    def _frame(self, file: BinaryIO, offset: int, count: int) -> int:
        """Send a frame; the offset behind it."""
        self.connection.sendall(struct.pack(">I", count), socket.MSG_MORE)
        if self.connection.sendfile(file, offset, count) != count:
            raise OSError("the file became shorter")
        return offset + count
