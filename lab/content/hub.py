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
import sys
import threading
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from lab.content.hub_access import HUB_NAME, Hub, Refusal, at
from lab.content.hub_exchange import Exchange
from lab.content.hub_faults import Faults
from lab.content.hub_store import Repo, Store
from lab.supply.server import Server, secure

CDN_NAME = "cdn-lfs.huggingface.co"
PAGE = 1000


class HubHandler(Exchange):
    """The Hub's routes."""

    @classmethod
    def over(cls, hub: Hub) -> type[HubHandler]:
        """A handler class for ``hub``."""
        return type("BoundHubHandler", (cls,), {"hub": hub})

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
