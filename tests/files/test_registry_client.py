"""A registry that wants a token, and whose blobs lie in a store elsewhere: as public ones do."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from errors import HostError
from registry_client import Registry

BLOB = b"layer"
SHA256 = hashlib.sha256(BLOB).hexdigest()
MANIFEST = json.dumps({"layers": []}).encode()
DIGEST = f"sha256:{hashlib.sha256(MANIFEST).hexdigest()}"


class Public(BaseHTTPRequestHandler):
    """Tokens are good for three requests; the store refuses who shows one."""

    given = 0
    left = 0

    def do_GET(self) -> None:
        token = self.headers.get("Authorization")
        if self.path.startswith("/token?"):
            Public.given, Public.left = Public.given + 1, 3
            assert "scope=repository%3Aorg%2Fname%3Apull" in self.path
            self.say(200, json.dumps({"token": f"t{Public.given}"}).encode())
        elif self.path == "/store":
            self.say(400 if token else 200, BLOB)
        elif token != f"Bearer t{Public.given}" or not Public.left:
            port = self.server.server_address[1]
            realm = f'Bearer realm="http://127.0.0.1:{port}/token",service="s"'
            self.say(401, b"{}", ("WWW-Authenticate", realm))
        elif "/blobs/" in self.path:
            Public.left -= 1
            self.say(307, b"", ("Location", "/store"))
        else:
            Public.left -= 1
            self.say(200, MANIFEST)

    def say(self, status: int, text: bytes, *headers: tuple[str, str]) -> None:
        self.send_response(status)
        for name, value in (*headers, ("Content-Length", str(len(text)))):
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, format: str, *args: object) -> None:
        """Silent."""


@pytest.fixture
def url() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Public)
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()


def test_a_token_is_fetched_renewed_and_not_shown_to_the_store(url: str) -> None:
    Public.given = Public.left = 0
    registry = Registry(url, "org/name")
    assert registry.manifest(DIGEST).text == MANIFEST
    for _ in range(4):
        assert registry.blob(SHA256, 0).read() == BLOB
    assert Public.given == 2


def test_another_manifest_than_asked_for_is_refused(url: str) -> None:
    with pytest.raises(HostError, match="sent another manifest"):
        Registry(url, "org/name").manifest(f"sha256:{'0' * 64}")
