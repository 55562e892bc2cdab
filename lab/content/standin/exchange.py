"""One HTTP exchange as uvicorn and FastAPI would answer it: heads, JSON, event streams."""

from __future__ import annotations

import json
import select
import socket
import ssl
import sys
import uuid
from http.server import BaseHTTPRequestHandler
from typing import Any

from . import protocol


def log(line: str) -> None:
    """One line of uvicorn's log."""
    print(line, file=sys.stderr, flush=True)


class Exchange(BaseHTTPRequestHandler):
    """One connection, without routes."""

    protocol_version = "HTTP/1.1"
    server_version = "uvicorn"
    sys_version = ""
    disable_nagle_algorithm = True
    wbufsize = -1
    access_log = True

    def log_message(self, format: str, *args: object) -> None:
        """Replaced by uvicorn's form, in ``_head``."""

    def _send(self, event: bytes) -> None:
        if event:
            self.wfile.write(f"{len(event):x}\r\n".encode() + event + b"\r\n")
            self.wfile.flush()

    def _gone(self) -> bool:
        """Whether the client hung up (not seen through TLS)."""
        if isinstance(self.connection, ssl.SSLSocket):
            return False
        try:
            if not select.select([self.connection], [], [], 0)[0]:
                return False
            peek: bytes = self.connection.recv(1, socket.MSG_PEEK)
            return not peek
        except (ConnectionError, ValueError):
            return True

    def _read(self, raw: bytes) -> dict[str, Any] | None:
        try:
            body = json.loads(raw)
        except ValueError:
            body = None
        if isinstance(body, dict):
            return body
        message = "1 validation error:\n  {'type': 'json_invalid', 'msg': 'JSON decode error'}"
        self._json(400, protocol.error_body(message, "Bad Request", "body", 400))
        return None

    def _json(self, status: int, body: object) -> None:
        self._body(status, protocol.compact(body), "application/json")

    def _body(self, status: int, body: bytes, kind: str | None) -> None:
        self._head(status, kind, len(body))
        self.wfile.write(body)
        self.wfile.flush()

    def _head(self, status: int, kind: str | None, length: int | None) -> None:
        if self.access_log:
            phrase = self.responses[status][0] if status in self.responses else ""
            host, port = self.client_address[:2]
            request = f"{self.command} {self.path} {self.request_version}"
            log(f'INFO:     {host}:{port} - "{request}" {status} {phrase}')
        self.send_response(status)
        self.send_header("x-request-id", uuid.uuid4().hex)
        if kind:
            self.send_header("content-type", kind)
        if length is None:
            self.send_header("transfer-encoding", "chunked")
        else:
            self.send_header("content-length", str(length))
        self.end_headers()
