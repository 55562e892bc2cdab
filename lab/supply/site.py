"""Answers requests for the web root by Host name, and hands the Hub's names to the Hub."""

import json
import shutil
import socket
import threading
import time
from http.server import SimpleHTTPRequestHandler
from pathlib import Path
from typing import Any, ClassVar

from lab.state import CONTROL
from lab.supply.ca import HUB

HUB_HOSTS = (*HUB, CONTROL)  # the control side resolves no names: it asks by address


class RequestLog:
    """One JSON object a line: time, client, host, method, path, status. Tests count them."""

    def __init__(self, path: Path) -> None:
        self.file = path.open("a", buffering=1)
        self.lock = threading.Lock()

    def write(self, **entry: object) -> None:
        with self.lock:
            self.file.write(json.dumps({"time": round(time.time(), 3), **entry}) + "\n")


class SiteHandler(SimpleHTTPRequestHandler):
    """Serves <www>/<Host>/<path>."""

    protocol_version = "HTTP/1.1"
    timeout = 60
    www: ClassVar[Path]
    hub: ClassVar[Path]
    log: ClassVar[RequestLog]

    @classmethod
    def over(cls, www: Path, hub: Path, log: RequestLog) -> "type[SiteHandler]":
        """A handler class for web root ``www`` and the Hub's unix socket ``hub``."""
        return type("Site", (cls,), {"www": www, "hub": hub, "log": log})

    @property
    def host(self) -> str:
        return self.headers.get("Host", "").split(":")[0].lower() or "none"

    def translate_path(self, path: str) -> str:
        self.directory = str(self.www / self.host.replace("/", "_").replace("..", "_"))
        return super().translate_path(path)

    def do_GET(self) -> None:
        self.hand_over() if self.host in HUB_HOSTS else super().do_GET()

    def do_HEAD(self) -> None:
        self.hand_over() if self.host in HUB_HOSTS else super().do_HEAD()

    def do_POST(self) -> None:
        self.hand_over() if self.host in HUB_HOSTS else self.send_error(405)

    do_PUT = do_PATCH = do_DELETE = do_POST

    def list_directory(self, path: Any) -> None:
        self.send_error(403)

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        self.log.write(client=self.client_address[0], host=self.host, method=self.command,
                       path=self.path, status=int(code) if str(code).isdigit() else 0)  # fmt: skip

    def log_message(self, format: str, *args: Any) -> None:
        """Errors reach the log as requests with their status."""

    def hand_over(self) -> None:
        """Pass this request to the Hub's unix socket and its answer back, byte for byte."""
        self.close_connection = True
        try:
            upstream = self._ask_hub()
        except OSError:
            self.send_error(502, "the Hub stand-in does not run")
            return
        with upstream, upstream.makefile("rb") as answer:
            shutil.copyfileobj(answer, self.wfile, 1 << 16)

    def _ask_hub(self) -> socket.socket:
        upstream = socket.socket(socket.AF_UNIX)
        upstream.connect(str(self.hub))
        lines = [self.requestline]
        skip = ("connection", "keep-alive")
        lines += [f"{k}: {v}" for k, v in self.headers.items() if k.lower() not in skip]
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        lines += [f"X-Forwarded-For: {self.client_address[0]}", "Connection: close"]
        head = "\r\n".join([*lines, "", ""])
        upstream.sendall(head.encode("latin-1") + body)
        return upstream
