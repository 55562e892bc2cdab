"""A caching proxy for apt: GET only, and only to the mirrors of this machine's own apt."""

import hashlib
import http.client
import os
import shutil
import threading
import time
import urllib.error
import urllib.request
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import urlsplit

from lab.command import run
from lab.paths import cache_dir
from lab.supply.site import RequestLog

FRESH_SECONDS = 300  # how old an index may be; packages and by-hash files never change
FIXED = (".deb", ".udeb")


def mirrors() -> dict[str, str]:
    """Host -> scheme of every archive that this machine's apt uses."""
    query = ("apt-get", "indextargets", "--format", "$(REPO_URI)", "Created-By: Packages")
    found = (urlsplit(uri) for uri in run(*query).split())
    return {uri.hostname: uri.scheme for uri in found if uri.hostname}


class Proxy(BaseHTTPRequestHandler):
    """Answers ``GET http://mirror/path`` from the cache or by fetching it, once for all hosts."""

    protocol_version = "HTTP/1.1"
    timeout = 60
    log: ClassVar[RequestLog]
    place: ClassVar[Path]
    allowed: ClassVar[dict[str, str]]
    locks: ClassVar[dict[str, threading.Lock]]
    guard: ClassVar[threading.Lock]

    @classmethod
    def caching(cls, log: RequestLog) -> "type[Proxy]":
        """A handler class over the lab's cache."""
        place = cache_dir() / "proxy"
        place.mkdir(parents=True, exist_ok=True)
        state: dict[str, Any] = {"log": log, "place": place, "allowed": mirrors(), "locks": {},
                                 "guard": threading.Lock()}  # fmt: skip
        return type("CachingProxy", (cls,), state)

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        scheme = self.allowed.get(url.hostname or "")
        if scheme is None or url.scheme != "http":
            self.send_error(403, "not a mirror of this machine's apt")
            return
        with self.guard:
            lock = self.locks.setdefault(self.path, threading.Lock())
        with lock:
            file = self._fetched(url._replace(scheme=scheme).geturl())
        if file is not None:
            self._send(file)

    def do_CONNECT(self) -> None:
        self.send_error(403, "no CONNECT")

    def _fetched(self, url: str) -> Path | None:
        """The cached file; None when it could not be had and the client was told why."""
        file = self.place / hashlib.sha256(url.encode()).hexdigest()
        fixed = url.endswith(FIXED) or "/by-hash/" in url
        if file.exists() and (fixed or time.time() - file.stat().st_mtime < FRESH_SECONDS):
            return file
        part = file.with_suffix(f".{os.getpid()}")
        try:
            with urllib.request.urlopen(url, timeout=120) as answer, part.open("wb") as out:
                shutil.copyfileobj(answer, out)
            part.replace(file)
        except urllib.error.HTTPError as error:
            self.send_error(error.code, error.reason)
            return None
        except (OSError, http.client.HTTPException) as error:
            self.send_error(502, str(error))
            return None
        finally:
            part.unlink(missing_ok=True)
        return file

    def _send(self, file: Path) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(file.stat().st_size))
        self.end_headers()
        with file.open("rb") as content:
            shutil.copyfileobj(content, self.wfile)

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        self.log.write(client=self.client_address[0], host="proxy", method=self.command,
                       path=self.path, status=int(code) if str(code).isdigit() else 0)  # fmt: skip

    def log_message(self, format: str, *args: Any) -> None:
        """Errors reach the log as requests with their status."""
