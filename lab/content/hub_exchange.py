"""One exchange of the Hub stand-in: bodies, ranges, refusals, injected faults, the request log."""

from __future__ import annotations

import json
import os
import socket
import struct
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import quote

from lab.content.hub_access import Hub, Refusal
from lab.content.hub_faults import Rule
from lab.content.hub_store import Entry

CHUNK = 1 << 14


class Exchange(BaseHTTPRequestHandler):
    """One connection, without routes; spoilt where a fault's rule says so."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = False  # a unix socket knows no such option
    timeout = 60
    hub: ClassVar[Hub]
    rule: Rule | None = None

    def log_message(self, format: str, *args: Any) -> None:
        """Requests are in the hub's own log."""

    def do_GET(self) -> None:
        self._answer()

    def do_HEAD(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        self._answer()

    def _answer(self) -> None:
        self.begun = time.monotonic()
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.rule = self.hub.faults.pick(self.command, self.path)
        try:
            if not self._spoilt():
                self._route(body)
        except Refusal as refusal:
            self._refuse(refusal)

    def _route(self, body: bytes) -> None:
        raise NotImplementedError

    def _spoilt(self) -> bool:
        """Whether a fault already decided this request."""
        if self.rule is None or self.rule.do not in ("status", "drop", "hang"):
            return False
        if self.rule.do == "hang":
            time.sleep(self.rule.seconds)
        if self.rule.do == "status":
            self._bytes(self.rule.status, b'{"error":"injected"}', {"Retry-After": "0"})
        else:
            self._hang_up()
            self._note(0, 0)
        return True

    def _hang_up(self) -> None:
        """End the connection, by a reset if the rule says so."""
        self.close_connection = True
        if self.rule and self.rule.do == "reset" and self.connection.family != socket.AF_UNIX:
            linger = struct.pack("ii", 1, 0)
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            os.close(self.connection.detach())  # the server's own close would say goodbye first

    @property
    def token(self) -> str | None:
        """The bearer token of this request."""
        scheme, _, value = self.headers.get("Authorization", "").partition(" ")
        return value if scheme.lower() == "bearer" and value else None

    def _file(self, entry: Entry, headers: dict[str, str]) -> None:
        start, end = 0, entry.size
        asked = self.headers.get("Range", "")
        status = 200
        if asked.startswith("bytes="):
            first, _, last = asked[6:].partition("-")
            start = int(first) if first else max(0, entry.size - int(last))
            end = min(entry.size, int(last) + 1) if first and last else entry.size
            if start >= entry.size:
                self._bytes(416, b"", headers | {"Content-Range": f"bytes */{entry.size}"})
                return
            status = 206
            headers["Content-Range"] = f"bytes {start}-{end - 1}/{entry.size}"
        headers |= {"ETag": f'"{entry.etag}"', "Content-Length": str(end - start)}
        name = quote(Path(entry.path).name)
        headers["Content-Disposition"] = f"inline; filename*=UTF-8''{name}; filename=\"{name}\";"
        self._head(status, headers | {"Content-Type": "application/octet-stream"})
        sent = 0 if self.command == "HEAD" else self._send(self._content(entry, start, end))
        self._note(status, sent)

    def _content(self, entry: Entry, start: int, end: int) -> Iterator[bytes]:
        """The bytes of a range, with what a fault does to them."""
        with entry.place.open("rb") as file:
            file.seek(start)
            left = end - start
            while left and (chunk := file.read(min(CHUNK, left))):
                if self.rule and self.rule.do == "corrupt" and left == end - start:
                    chunk = bytes([chunk[0] ^ 0xFF]) + chunk[1:]
                left -= len(chunk)
                yield chunk

    def _send(self, chunks: Iterator[bytes]) -> int:
        """Send a body; the number of bytes that went out."""
        sent = 0
        rule = self.rule
        for chunk in chunks:
            if rule and rule.do in ("truncate", "reset") and sent + len(chunk) > rule.bytes:
                self.wfile.write(chunk[: max(0, rule.bytes - sent)])
                self._hang_up()
                return rule.bytes
            if rule and rule.do == "slow":
                time.sleep(len(chunk) / rule.rate)
            self.wfile.write(chunk)
            sent += len(chunk)
        return sent

    def _refuse(self, refusal: Refusal) -> None:
        headers = {"X-Error-Message": refusal.message}
        if refusal.code:
            headers["X-Error-Code"] = refusal.code
        if refusal.status == 401:
            headers["WWW-Authenticate"] = 'Bearer realm="Authentication required"'
        self._json(refusal.status, {"error": refusal.message}, headers)

    def _json(self, status: int, value: object, headers: dict[str, str] | None = None) -> None:
        kind = {"Content-Type": "application/json; charset=utf-8"}
        self._bytes(status, json.dumps(value).encode(), kind | (headers or {}))

    def _bytes(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self._head(status, headers | {"Content-Length": str(len(body))})
        if self.command != "HEAD":
            self.wfile.write(body)
        self._note(status, len(body))

    def _head(self, status: int, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()

    def _note(self, status: int, sent: int) -> None:
        peer = self.client_address[0] if isinstance(self.client_address, tuple) else ""
        self.hub.note(
            client=self.headers.get("X-Forwarded-For", peer),
            host=self.headers.get("Host", ""),
            method=self.command,
            path=self.path,
            range=self.headers.get("Range", ""),
            token=self.token is not None,
            status=status,
            bytes=sent,
            fault=self.rule.do if self.rule else "",
            seconds=round(time.monotonic() - self.begun, 3),
        )
