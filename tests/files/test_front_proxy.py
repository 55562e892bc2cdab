"""The API's own HAProxy in front of a stand-in on loopback: what comes through without a key."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import auth_probe
import front_door
import pytest

from fleet import authority, gateway, haproxy, prometheus
from fleet.access import AccessSettings
from fleet.endpoint import GatewaySettings
from fleet.gateway import Replica
from fleet.monitoring import MonitoringSettings
from tests.files.standin_process import NAME, Standin, free_port, standin
from tests.files.test_gateway import haproxy_runs

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("haproxy") is None, reason="HAProxy is not installed here"),
]
KEY = "sesame-open-sesame-open-sesame"
HOST = "spark-01"


@dataclass
class Door:
    """HAProxy with TLS and a key, and the server behind it."""

    server: Standin
    request: dict[str, Any]
    log: Path

    def passed(self) -> list[str]:
        """The requests that the server has got, the probe's own of its list of routes aside."""
        lines = re.findall(r' - "(.*)" \d+ ', self.log.read_text())
        return [line for line in lines if line != "GET /openapi.json HTTP/1.1"]

    def says(self, raw: bytes) -> str:
        """The status of the answer to ``raw``; "" for a closed connection."""
        plain = socket.create_connection(("127.0.0.1", self.request["port"]), timeout=5)
        with front_door.secured(plain, self.request) as secure:
            secure.sendall(raw)
            head = secure.recv(4096)
        assert not head or head.startswith(b"HTTP/"), head
        return head.split(b" ", 2)[1].decode() if head else ""


def api(folder: Path, port: int, server: Standin) -> str:
    """The configuration in front of a host's own server."""
    return haproxy.render(
        "api", access=AccessSettings(), address="127.0.0.1", port=port, backend=server.port
    )


def gateways(folder: Path, port: int, server: Standin) -> str:
    """That of a gateway, with the server behind it."""
    own = GatewaySettings(gateway_listen="127.0.0.1", gateway_port=port)
    replica = Replica(HOST, "127.0.0.1", server.port, NAME, "none")
    return gateway.config(AccessSettings(), own, [replica], KEY, str(folder / "socket"))


@contextmanager
def door(folder: Path, kind: Callable[[Path, int, Standin], str] = api) -> Iterator[Door]:
    port = free_port()
    signer = authority.create()
    (folder / haproxy.KEYS).write_text(haproxy.key_hashes([KEY]))
    (folder / haproxy.CERTIFICATE).write_text(authority.issue(signer, [HOST, "127.0.0.1"]))
    (folder / "server").mkdir()
    with standin(folder / "server") as server:
        text = kind(folder, port, server)
        request = {
            **{"address": "127.0.0.1", "port": port, "name": HOST, "ca": signer.certificate},
            **{"accepted": [KEY], "refused": [], "direct": server.port, "timeout_s": 10},
        }
        with haproxy_runs(folder, text):
            assert front_door.settled(request) == [], (folder / "haproxy.log").read_text()
            yield Door(server, request, folder / "server" / "log")


@pytest.fixture(scope="module")
def closed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Door]:
    with door(tmp_path_factory.mktemp("door")) as made:
        yield made


def test_every_route_of_a_gateway_asks_for_the_key(tmp_path: Path) -> None:
    with door(tmp_path, gateways) as made:
        found = auth_probe.probe(made.request)
    assert (found["open"], found["gaps"]) == ([], [])
    assert found["counts"]["without"]["401"] > 5 and found["counts"]["right"]["200"] >= 1


def test_every_route_asks_for_the_key(closed: Door) -> None:
    found = auth_probe.probe(closed.request)
    assert (found["open"], found["gaps"]) == ([], [])
    assert set(found["counts"]["without"]) == {"200", "401", "404"}
    assert found["counts"]["without"]["200"] == 1  # /health


BODY = b'{"model":"lab/tiny","prompt":"hello","max_tokens":1}'
LENGTH = b"Content-Length: %d\r\n" % len(BODY)
COMPLETION = b"POST %b HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
NO_WAY_IN = {
    "absolute address": b"GET http://127.0.0.1/metrics HTTP/1.1\r\nHost: x\r\n\r\n",
    "address of another": b"GET http://x/v1/models HTTP/1.1\r\nHost: x\r\n\r\n",
    "climbs": b"GET /health/../metrics HTTP/1.1\r\nHost: x\r\n\r\n",
    "encoded": b"GET /health%2f..%2fmetrics HTTP/1.1\r\nHost: x\r\n\r\n",
    "parameter": b"GET /health;/../metrics HTTP/1.1\r\nHost: x\r\n\r\n",
    "behind health": b"GET /health/metrics HTTP/1.1\r\nHost: x\r\n\r\n",
    "HTTP/1.0": b"GET /v1/models HTTP/1.0\r\n\r\n",
    "HTTP/0.9": b"GET /metrics\r\n\r\n",
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "CONNECT": b"CONNECT 127.0.0.1:8000 HTTP/1.1\r\nHost: x\r\n\r\n",
    "TRACE": b"TRACE /v1/models HTTP/1.1\r\nHost: x\r\n\r\n",
    "empty key": b"GET /v1/models HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer \r\n\r\n",
    "another scheme": b"GET /v1/models HTTP/1.1\r\nHost: x\r\nAuthorization: Basic %b\r\n\r\n"
    % KEY.encode(),
    "its hash": b"GET /v1/models HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %b\r\n\r\n"
    % haproxy.key_hashes([KEY]).strip().encode(),
    "key in the query": b"GET /v1/models?api_key=%b HTTP/1.1\r\nHost: x\r\n\r\n" % KEY.encode(),
    "key in another header": b"GET /v1/models HTTP/1.1\r\nHost: x\r\nX-Api-Key: %b\r\n\r\n"
    % KEY.encode(),
    "invocations": COMPLETION % b"/invocations" + LENGTH + b"\r\n" + BODY,
    "two lengths": COMPLETION % b"/health" + LENGTH + b"Content-Length: 0\r\n\r\n" + BODY,
    "length and chunks": COMPLETION % b"/health"
    + LENGTH
    + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /metrics HTTP/1.1\r\nHost: x\r\n\r\n",
    "odd chunks": COMPLETION % b"/v1/completions"
    + b"Transfer-Encoding: xchunked\r\n"
    + LENGTH
    + b"\r\n"
    + BODY,
    "folded header": b"GET /v1/models HTTP/1.1\r\nHost: x\r\nX: y\r\n"
    b" Authorization: Bearer %b\r\n\r\n" % KEY.encode(),
    "bare line feeds": b"GET /v1/models HTTP/1.1\nHost: x\nX: y\x00\n\n",
    "upgrade": b"GET /v1/realtime HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\n"
    b"Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: eA==\r\n\r\n",
}


@pytest.mark.parametrize("name", sorted(NO_WAY_IN))
def test_no_form_of_a_request_gets_past_the_door_without_the_key(closed: Door, name: str) -> None:
    before = closed.passed()
    status = closed.says(NO_WAY_IN[name])
    assert not status.startswith(("1", "2")), status
    assert closed.passed() == before


def test_the_door_of_figures_speaks_no_http_2_either(tmp_path: Path) -> None:
    own = MonitoringSettings(metrics_listen="127.0.0.1", metrics_port=free_port())
    text = prometheus.door(AccessSettings(tls="off"), own, ["127.0.0.1"], None)
    with haproxy_runs(tmp_path, text):
        end = time.monotonic() + 10
        while not (said := asked(own.metrics_port, NO_WAY_IN["HTTP/2"])):
            assert time.monotonic() < end, (tmp_path / "haproxy.log").read_text()
            time.sleep(0.05)
    assert said.startswith(b"HTTP/1.1 4"), said


def asked(port: int, raw: bytes) -> bytes:
    """The beginning of the answer; nothing where nobody listens yet."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=5) as plain:
            plain.sendall(raw)
            return plain.recv(4096)
    except ConnectionRefusedError:
        return b""


def test_the_server_never_sees_the_key(closed: Door) -> None:
    head = COMPLETION % b"/v1/completions" + b"Authorization: Bearer %b\r\n" % KEY.encode()
    assert closed.says(head + LENGTH + b"\r\n" + BODY) == "200"
    assert closed.passed()[-1] == "POST /v1/completions HTTP/1.1"


def test_a_proxy_that_had_too_many_wrong_keys_is_asked_again_a_minute_later(
    tmp_path: Path,
) -> None:
    with door(tmp_path) as limited:
        asked = [front_door.status(limited.request, front_door.NO_KEY) for _ in range(40)]
        assert (asked[0], asked[-1]) == ("401", "429")
        assert front_door.settled(limited.request) == []


def test_a_proxy_that_lets_a_path_through_without_the_key_is_found(tmp_path: Path) -> None:
    """The probe against a wrong configuration: else "0 open" would mean nothing."""
    with door(tmp_path) as made:
        text = (tmp_path / haproxy.CONFIG).read_text()
        wrong = text.replace("http-request allow if health METH_GET", "http-request allow if TRUE")
        other = free_port()
        wrong = wrong.replace(f":{made.request['port']} ", f":{other} ")
        (tmp_path / "other").mkdir()
        for name in (haproxy.KEYS, haproxy.CERTIFICATE):
            shutil.copy(tmp_path / name, tmp_path / "other" / name)
        with haproxy_runs(tmp_path / "other", wrong):
            request = {**made.request, "port": other}
            [told] = front_door.settled({**request, "accepted": [KEY], "timeout_s": 3})[:1]
            assert "without a key: found 200, wanted 401" in told
            found = auth_probe.probe(request)
    assert any(line.startswith("POST /v1/completions without key") for line in found["open"])


LISTENER = """
import os, socket
os.setuid(65534)
with socket.create_server(("127.0.0.1", 0)) as server:
    print(server.getsockname()[1], flush=True)
    print(server.accept()[0].recv(4096), flush=True)
"""


@pytest.mark.skipif(os.getuid() != 0, reason="another user can be made to listen by root only")
def test_who_listens_in_the_proxys_place_is_not_told_the_key() -> None:
    words = [sys.executable, "-c", LISTENER]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        port = int(other.stdout.readline())
        request = {"address": "127.0.0.1", "port": port, "name": HOST, "ca": None}
        found = front_door.problems({**request, "accepted": [KEY], "refused": []})
        place = f"127.0.0.1:{port}/v1/models"
        told = f"{place}: user 65534 listens there in the proxy's place; no key was sent"
        assert found == [told] and other.poll() is None  # it was not even connected to
        other.kill()
