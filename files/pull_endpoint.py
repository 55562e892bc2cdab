"""A registry for this host's own Docker alone: on loopback, read-only, one image, and its blobs
while they still come in. It speaks as much of the distribution API as ``docker pull`` needs."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from registry_client import Manifest
from shelf import Item, Shelf

REPOSITORY = "vllm-fleet/image"
LOOK_S = 2.0
PATH = re.compile(rf"/v2/{REPOSITORY}/(manifests|blobs)/sha256:([0-9a-f]{{64}})")
RANGE = re.compile(r"bytes=(\d+)-")


class Endpoint(ThreadingHTTPServer):
    """Serves ``manifests`` and the blobs of ``shelf``; ``docker pull`` takes ``image`` from it."""

    daemon_threads = True
    block_on_close = False

    def __init__(self, manifests: Iterable[Manifest], shelf: Shelf) -> None:
        self.manifests = list(manifests)
        self.shelf = shelf
        self.closing = False
        super().__init__(("127.0.0.1", 0), _Handler)
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def image(self) -> str:
        name = f"127.0.0.1:{self.server_address[1]}/{REPOSITORY}"
        return f"{name}@{self.manifests[0].digest}"

    def close(self) -> None:
        self.closing = True
        self.shutdown()
        self.server_close()


class _Handler(BaseHTTPRequestHandler):
    server: Endpoint
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self._answer(body=True)

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def _answer(self, *, body: bool) -> None:
        found = PATH.fullmatch(self.path)
        if self.path == "/v2/":
            self._text(200, "application/json", b"{}", body)
        elif found and found[1] == "manifests":
            self._manifest(f"sha256:{found[2]}", body)
        elif found and (item := self.server.shelf.items.get(found[2])):
            self._blob(item, body)
        else:
            self._text(404, "application/json", b'{"errors": [{"code": "NAME_UNKNOWN"}]}', body)

    def _manifest(self, digest: str, body: bool) -> None:
        for manifest in self.server.manifests:
            if manifest.digest == digest:
                self._text(200, manifest.kind, manifest.text, body, digest)
                return
        self._text(404, "application/json", b'{"errors": [{"code": "MANIFEST_UNKNOWN"}]}', body)

    def _text(self, status: int, kind: str, text: bytes, body: bool, digest: str = "") -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(text)))
        if digest:
            self.send_header("Docker-Content-Digest", digest)
        self.end_headers()
        if body:
            self.wfile.write(text)

    def _blob(self, item: Item, body: bool) -> None:
        asked = RANGE.match(self.headers.get("Range", ""))
        offset = min(int(asked[1]), item.size) if asked else 0
        self.send_response(206 if asked else 200)
        if asked:
            self.send_header("Content-Range", f"bytes {offset}-{item.size - 1}/{item.size}")
        self.send_header("Content-Type", "application/octet-stream")
        self.send_header("Content-Length", str(item.size - offset))
        self.send_header("Docker-Content-Digest", f"sha256:{item.sha256}")
        self.end_headers()
        if body:
            self.server.shelf.want(item)
            self._stream(item, offset)

    def _stream(self, item: Item, offset: int) -> None:
        while offset < item.size and not self.server.closing:
            ready = self.server.shelf.wait(item, offset, LOOK_S)
            if ready <= offset:
                continue
            with self.server.shelf.open(item) as file:
                offset += self.connection.sendfile(file, offset, ready - offset)
        self.close_connection = offset < item.size

    def log_message(self, format: str, *args: object) -> None:
        """Docker says what it did not get."""
