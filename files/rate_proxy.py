"""A bandwidth limit for a program that has none: an HTTPS proxy on loopback that counts bytes.

Only CONNECT to port 443; what is inside stays encrypted between the program and its server.
"""

from __future__ import annotations

import contextlib
import re
import socket
import socketserver
import threading
import time
from collections.abc import Iterator

CONNECT_S, IDLE_S = 20.0, 300.0
HEAD = 8192  # bytes of a request's head at most


class Limit:
    """``rate`` bytes per second, shared by all connections."""

    def __init__(self, rate: int) -> None:
        self.chunk = max(1024, min(1 << 16, rate // 20))
        self._rate = rate
        self._free_at = 0.0
        self._lock = threading.Lock()

    def spend(self, size: int) -> None:
        """Return when ``size`` bytes more are allowed to have passed."""
        with self._lock:
            now = time.monotonic()
            self._free_at = max(self._free_at, now) + size / self._rate
            wait = self._free_at - now
        time.sleep(wait)


class _Handler(socketserver.BaseRequestHandler):
    limit: Limit

    def handle(self) -> None:
        found = re.match(rb"CONNECT ([A-Za-z0-9.-]+):443 ", self._head())
        if not found:
            self.request.sendall(b"HTTP/1.1 405 only CONNECT to port 443\r\n\r\n")
            return
        try:
            server = socket.create_connection((found[1].decode(), 443), CONNECT_S)
        except OSError:
            self.request.sendall(b"HTTP/1.1 502 no connection\r\n\r\n")
            return
        with server:
            self.request.sendall(b"HTTP/1.1 200 connected\r\n\r\n")
            Relay().between(self.request, server, self.limit)

    def _head(self) -> bytes:
        self.request.settimeout(IDLE_S)
        head = b""
        with contextlib.suppress(OSError):
            while b"\r\n\r\n" not in head and len(head) < HEAD:
                if not (part := self.request.recv(HEAD)):
                    break
                head += part
        return head


class Relay:
    """One connection through the proxy: it ends when either end does, or when nothing has moved in
    either direction for ``IDLE_S`` (noticed within as long again)."""

    def __init__(self) -> None:
        self._moved = time.monotonic()

    def between(self, client: socket.socket, server: socket.socket, limit: Limit) -> None:
        """Return when it is over; what ``server`` sends is limited."""
        for end in (client, server):
            end.settimeout(IDLE_S)
        up = threading.Thread(target=self._pass, args=(client, server, None), daemon=True)
        up.start()
        self._pass(server, client, limit)

    def _pass(self, source: socket.socket, sink: socket.socket, limit: Limit | None) -> None:
        """Bytes from one to the other until either ends; then both are told."""
        with contextlib.suppress(OSError):
            while part := self._next(source, limit.chunk if limit else 1 << 16):
                if limit:
                    limit.spend(len(part))
                sink.sendall(part)
                self._moved = time.monotonic()
        for end in (source, sink):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def _next(self, source: socket.socket, size: int) -> bytes:
        """At most ``size`` bytes; none at the end. A download is one request and a long answer."""
        while True:
            try:
                return source.recv(size)
            except TimeoutError:
                if time.monotonic() - self._moved > IDLE_S:
                    return b""


class _Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    allow_reuse_address = True


@contextlib.contextmanager
def serving(rate: int) -> Iterator[str]:
    """The proxy's address, while the block runs; "" without a limit (``rate`` 0)."""
    if not rate:
        yield ""
        return
    handler = type("Limited", (_Handler,), {"limit": Limit(rate)})
    with _Server(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
