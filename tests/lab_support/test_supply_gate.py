"""The gate's servers on loopback: who is answered what, and how connections end."""

import contextlib
import http.client
import json
import socket
import socketserver
import ssl
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from lab.supply.ca import ca
from lab.supply.proxy import Proxy
from lab.supply.server import Server, secure
from lab.supply.site import RequestLog, SiteHandler

VENDOR = "download.docker.com"


@dataclass(frozen=True)
class Gate:
    http: int
    https: int
    proxy: int
    www: Path
    hub: Path
    log: Path

    def get(self, host: str, path: str, port: int = 0) -> tuple[int, bytes]:
        """Status and body of a plain request with this Host name."""
        connection = http.client.HTTPConnection("127.0.0.1", port or self.http, timeout=10)
        with contextlib.closing(connection):
            connection.request("GET", path, headers={"Host": host})
            answer = connection.getresponse()
            return answer.status, answer.read()

    def logged(self) -> list[dict[str, object]]:
        return [json.loads(line) for line in self.log.read_text().splitlines()]


@pytest.fixture
def gate(tmp_path: Path) -> Iterator[Gate]:
    www = tmp_path / "www"
    (www / VENDOR / "linux").mkdir(parents=True)
    (www / VENDOR / "linux/file").write_text("from docker\n")
    (tmp_path / "secret").write_text("not below the web root\n")
    log = RequestLog(tmp_path / "log")
    site = SiteHandler.over(www, tmp_path / "hub.sock", log)
    own = ca()
    tls = secure(str(own.server_certificate), str(own.server_key))
    servers = []
    for handler, context in ((site, None), (site, tls), (Proxy.caching(log), None)):
        listener = socket.create_server(("127.0.0.1", 0))
        servers.append(Server(listener, handler, context))
        threading.Thread(target=servers[-1].serve_forever, args=(0.05,), daemon=True).start()
    ports = [server.server_port for server in servers]
    yield Gate(*ports, www, tmp_path / "hub.sock", tmp_path / "log")
    for server in servers:
        server.shutdown()
        server.server_close()


def test_the_host_name_decides_what_is_served(gate: Gate) -> None:
    assert gate.get(VENDOR, "/linux/file") == (200, b"from docker\n")
    assert gate.get("nvidia.github.io", "/linux/file")[0] == 404


def test_no_name_and_no_path_leads_out_of_the_web_root(gate: Gate) -> None:
    for host in ("..", "../..", VENDOR, ""):
        for path in ("/secret", "/../secret", "/../../secret", "/%2e%2e/secret"):
            assert gate.get(host, path)[0] in (403, 404), (host, path)


def test_directories_are_not_listed(gate: Gate) -> None:
    assert gate.get(VENDOR, "/linux/")[0] == 403


def test_requests_are_logged_with_host_and_status(gate: Gate) -> None:
    gate.get(VENDOR, "/linux/file")
    gate.get(VENDOR, "/missing")
    kept = [(e["host"], e["path"], e["status"]) for e in gate.logged()]
    assert kept == [(VENDOR, "/linux/file", 200), (VENDOR, "/missing", 404)]


def test_tls_speaks_for_every_vendor_and_ends_with_close_notify(gate: Gate) -> None:
    context = ssl.create_default_context(cafile=str(ca().certificate))
    for name in (VENDOR, "developer.download.nvidia.com", "huggingface.co"):
        with socket.create_connection(("127.0.0.1", gate.https), timeout=10) as raw:
            secured = context.wrap_socket(raw, server_hostname=name, suppress_ragged_eofs=False)
            secured.sendall(
                f"GET /no HTTP/1.1\r\nHost: {VENDOR}\r\nConnection: close\r\n\r\n".encode()
            )
            while secured.recv(4096):  # raises SSLEOFError if the stream just ends
                pass


def test_a_name_that_is_not_ours_has_no_certificate(gate: Gate) -> None:
    context = ssl.create_default_context(cafile=str(ca().certificate))
    with (
        socket.create_connection(("127.0.0.1", gate.https), timeout=10) as raw,
        pytest.raises(ssl.SSLCertVerificationError),
    ):
        context.wrap_socket(raw, server_hostname="example.org")


def test_a_client_that_says_nothing_delays_nobody(gate: Gate) -> None:
    with socket.create_connection(("127.0.0.1", gate.https), timeout=10):
        context = ssl.create_default_context(cafile=str(ca().certificate))
        context.check_hostname = False  # it is asked by address here
        connection = http.client.HTTPSConnection(
            "127.0.0.1", gate.https, timeout=5, context=context
        )
        with contextlib.closing(connection):
            connection.request("GET", "/linux/file", headers={"Host": VENDOR})
            assert connection.getresponse().read() == b"from docker\n"


class _Hub(socketserver.StreamRequestHandler):
    """Answers with what it was asked, then hangs up in the middle of the body."""

    def handle(self) -> None:
        line = self.rfile.readline()
        while self.rfile.readline().strip():
            pass
        self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n" + line)


def test_the_hubs_names_go_to_the_hub_byte_for_byte(gate: Gate) -> None:
    assert gate.get("huggingface.co", "/api/models/x")[0] == 502
    with socketserver.ThreadingUnixStreamServer(str(gate.hub), _Hub) as hub:
        threading.Thread(target=hub.serve_forever, args=(0.05,), daemon=True).start()
        with pytest.raises(http.client.IncompleteRead) as broken:
            gate.get("huggingface.co", "/api/models/x?blobs=true")
        hub.shutdown()
    assert broken.value.partial == b"GET /api/models/x?blobs=true HTTP/1.1\r\n"


def test_the_proxy_fetches_from_package_mirrors_only(gate: Gate) -> None:
    for path in ("http://127.0.0.1/x", "http://example.org/x", "/x"):
        assert gate.get("x", path, gate.proxy)[0] == 403
    connection = http.client.HTTPConnection("127.0.0.1", gate.proxy, timeout=10)
    with contextlib.closing(connection):
        connection.request("CONNECT", "example.org:443")
        assert connection.getresponse().status == 403
