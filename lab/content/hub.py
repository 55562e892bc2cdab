"""A stand-in for the model Hub: what huggingface_hub and `fleet lock` ask it, and its refusals.

Run as ``python -m lab.content.hub CONFIG.json``; ends on SIGTERM. The config: ``listen`` (path of a
unix socket, or [address, port]), ``ready`` (file written once it listens), ``directories``,
``access``, ``tokens`` (token -> repositories it may read), ``faults`` and ``log`` (files).
"""

from __future__ import annotations

import json
import os
import signal
import socket
import struct
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import parse_qs, quote, unquote, urlsplit

from lab.content.hub_faults import Faults, Rule
from lab.content.hub_store import Entry, Repo, Store
from lab.supply.server import Server, secure

HUB_NAME = "huggingface.co"
CDN_NAME = "cdn-lfs.huggingface.co"
PAGE = 1000
CHUNK = 1 << 14


class Refusal(Exception):
    """An answer other than 200, in the Hub's words."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status, self.code, self.message = status, code, message


@dataclass(frozen=True)
class Hub:
    """What all connections share."""

    store: Store
    tokens: dict[str, list[str]]
    faults: Faults
    log: Path | None

    def note(self, **entry: object) -> None:
        """One line of the request log."""
        if self.log:
            with self.log.open("a") as file:
                file.write(json.dumps({"time": round(time.time(), 3), **entry}) + "\n")

    def readable(self, name: str, token: str | None, metadata: bool) -> Repo:
        """The repository, or the Hub's refusal. A gated one shows its metadata to everybody."""
        if token is not None and token not in self.tokens:
            raise Refusal(401, "", "Invalid credentials in Authorization header")
        repo = self.store.repo(name)
        allowed = repo is not None and (
            repo.access == "open" or name in self.tokens.get(token or "", [])
        )
        if repo is None or (repo.access == "private" and not allowed):
            if token is None:
                raise Refusal(401, "RepoNotFound", "Invalid username or password.")
            raise Refusal(404, "RepoNotFound", "Repository not found")
        if repo.access == "gated" and not allowed and not metadata:
            start = f"Access to model {name} is restricted"
            if token is None:
                raise Refusal(
                    401,
                    "GatedRepo",
                    f"{start}. You must have access to it and be authenticated to access it.",
                )
            raise Refusal(
                403,
                "GatedRepo",
                f"{start} and you are not in the authorized list. Visit "
                f"https://{HUB_NAME}/{name} to ask for access.",
            )
        return repo


def at(repo: Repo, revision: str) -> Repo:
    """The repository if it has that revision."""
    if not repo.has(revision):
        raise Refusal(404, "RevisionNotFound", f"Invalid rev id: {revision}")
    return repo


class HubHandler(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = False  # a unix socket knows no such option
    timeout = 60
    hub: ClassVar[Hub]
    rule: Rule | None = None

    @classmethod
    def over(cls, hub: Hub) -> type[HubHandler]:
        """A handler class for ``hub``."""
        return type("BoundHubHandler", (cls,), {"hub": hub})

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

    def _route(self, body: bytes) -> None:
        parts = [unquote(part) for part in urlsplit(self.path).path.strip("/").split("/")]
        if parts == ["api", "whoami-v2"]:
            self._whoami()
        elif parts[:2] == ["api", "models"] and len(parts) >= 4:
            self._api("/".join(parts[2:4]), parts[4:], body)
        elif parts[:1] == ["lfs"] and len(parts) == 2:
            self._lfs(parts[1])
        elif len(parts) >= 5 and parts[2] == "resolve":
            self._resolve("/".join(parts[:2]), parts[3], "/".join(parts[4:]))
        else:
            raise Refusal(404, "", "Sorry, we can't find the page you are looking for.")

    def _query(self) -> dict[str, str]:
        return {key: values[-1] for key, values in parse_qs(urlsplit(self.path).query).items()}

    def _whoami(self) -> None:
        if self.token not in self.hub.tokens:
            raise Refusal(401, "", "Invalid credentials in Authorization header")
        self._json(200, {"type": "user", "name": "lab", "auth": {"type": "access_token"}})

    def _api(self, name: str, rest: list[str], body: bytes) -> None:
        kind = rest[0] if rest else "revision"
        repo = self.hub.readable(name, self.token, metadata=kind != "auth-check")
        revision = rest[1] if len(rest) > 1 else "main"
        if kind == "auth-check":
            self._json(200, {})
        elif kind == "revision":
            self._json(200, at(repo, revision).info(self._query().get("blobs") in ("true", "True")))
        elif kind == "refs":
            main = {"name": "main", "ref": "refs/heads/main", "targetCommit": repo.commit}
            self._json(200, {"branches": [main], "converts": [], "tags": []})
        elif kind == "tree":
            self._tree(at(repo, revision), "/".join(rest[2:]))
        elif kind == "paths-info":
            self._paths_info(at(repo, revision), body)
        else:
            raise Refusal(404, "", "Not found")

    def _tree(self, repo: Repo, folder: str) -> None:
        query = self._query()
        deep = query.get("recursive", "").lower() in ("true", "1")
        start = f"{folder}/" if folder else ""
        found: list[dict[str, object]] = [
            {"type": "directory", "path": each, "size": 0, "oid": repo.commit}
            for each in repo.folders()
        ] + [each.listed() for each in repo.entries.values()]
        found = [each for each in found if str(each["path"]).startswith(start)]
        if not deep:
            found = [each for each in found if "/" not in str(each["path"])[len(start) :]]
        if folder and not found:
            raise Refusal(404, "EntryNotFound", f"{folder} does not exist on {repo.commit}")
        begin, size = int(query.get("cursor", 0)), int(query.get("limit", PAGE))
        headers = {}
        if begin + size < len(found):
            here = urlsplit(self.path)
            more = f"recursive={deep}&expand=False&limit={size}&cursor={begin + size}"
            origin = f"{self._scheme}://{self.headers.get('Host')}"
            headers["Link"] = f'<{origin}{here.path}?{more}>; rel="next"'
        self._json(200, found[begin : begin + size], headers)

    @property
    def _scheme(self) -> str:
        return "http" if self.headers.get("Host", "").startswith("127.") else "https"

    def _paths_info(self, repo: Repo, body: bytes) -> None:
        if "json" in self.headers.get("Content-Type", ""):
            wanted = json.loads(body).get("paths", [])
        else:
            wanted = parse_qs(body.decode()).get("paths", [])
        self._json(200, [repo.entries[path].listed() for path in wanted if path in repo.entries])

    def _resolve(self, name: str, revision: str, path: str) -> None:
        repo = at(self.hub.readable(name, self.token, metadata=False), revision)
        entry = repo.entries.get(path)
        if entry is None:
            raise Refusal(404, "EntryNotFound", "Entry not found")
        headers = {"X-Repo-Commit": repo.commit, "Accept-Ranges": "bytes"}
        if entry.lfs:
            headers |= {"X-Linked-Etag": f'"{entry.sha256}"', "X-Linked-Size": str(entry.size)}
        if entry.lfs and self.headers.get("Host", "") == HUB_NAME:
            where = f"https://{CDN_NAME}/lfs/{entry.sha256}"
            self._bytes(
                302, f"Found. Redirecting to {where}".encode(), headers | {"Location": where}
            )
            return
        self._file(entry, headers)

    def _lfs(self, sha256: str) -> None:
        entry = self.hub.store.blob(sha256)
        if entry is None:
            raise Refusal(403, "", "AccessDenied")
        self._file(entry, {"Accept-Ranges": "bytes"})

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


def listener(where: str | list[Any]) -> socket.socket:
    """A socket that listens: a path is a unix socket, [address, port] is TCP."""
    if isinstance(where, str):
        Path(where).unlink(missing_ok=True)
        sock = socket.socket(socket.AF_UNIX)
        sock.bind(where)
    else:
        sock = socket.create_server((where[0], where[1]))
    sock.listen(256)
    return sock


class UnixServer(Server):
    """A unix socket has no address to show."""

    def __init__(self, sock: socket.socket, handler: type[BaseHTTPRequestHandler]) -> None:
        super().__init__(sock, handler)


def serve(config: dict[str, Any]) -> Server:
    """Start serving in threads; returns the server."""
    store = Store([Path(each) for each in config["directories"]], config.get("access", {}))
    faults = Faults(Path(config["faults"]) if config.get("faults") else None)
    log = Path(config["log"]) if config.get("log") else None
    hub = Hub(store, config.get("tokens", {}), faults, log)
    tls = secure(config["certificate"], config["key"]) if config.get("certificate") else None
    server = Server(listener(config["listen"]), HubHandler.over(hub), tls)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


def main() -> None:
    """Serve until told to stop."""
    stop = {signal.SIGTERM, signal.SIGINT}
    signal.pthread_sigmask(signal.SIG_BLOCK, stop)
    config = json.loads(Path(sys.argv[1]).read_text())
    server = serve(config)
    Path(config["ready"]).write_text(json.dumps({"pid": os.getpid(), "port": server.server_port}))
    signal.sigwait(stop)
    os._exit(0)


if __name__ == "__main__":
    main()
