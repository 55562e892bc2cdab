"""The proxy that keeps a download to its rate."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

import pytest
import rate_proxy
from rate_proxy import Limit


def test_connections_share_the_rate() -> None:
    limit = Limit(1_000_000)
    began = time.monotonic()
    for _ in range(10):
        limit.spend(20_000)
    assert 0.19 <= time.monotonic() - began < 1.0


def test_it_passes_on_nothing_but_https() -> None:
    with rate_proxy.serving(1_000_000) as address:
        place = urlsplit(address)
        for line in (b"GET http://127.0.0.1/ HTTP/1.1", b"CONNECT 127.0.0.1:22 HTTP/1.1"):
            with socket.create_connection((place.hostname, place.port), 5) as connection:
                connection.sendall(line + b"\r\n\r\n")
                assert b"405" in connection.recv(100)


@contextmanager
def relayed(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[socket.socket, socket.socket]]:
    """The two ends of a connection through the proxy, which bears a second of silence."""
    monkeypatch.setattr(rate_proxy, "IDLE_S", 1.0)
    (client, ours), (theirs, server) = socket.socketpair(), socket.socketpair()
    with client, ours, theirs, server:
        work = (ours, theirs, Limit(1_000_000))
        threading.Thread(target=rate_proxy.Relay().between, args=work, daemon=True).start()
        client.settimeout(10)
        yield client, server


def test_a_client_that_only_receives_is_not_idle(monkeypatch: pytest.MonkeyPatch) -> None:
    with relayed(monkeypatch) as (client, server):
        for number in range(10):
            server.sendall(bytes([number]))
            assert client.recv(10) == bytes([number])
            time.sleep(0.3)


def test_a_connection_on_which_nothing_moves_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    with relayed(monkeypatch) as (client, server):
        client.sendall(b"asked")
        assert server.recv(10) == b"asked" and client.recv(10) == b""


def test_without_a_limit_there_is_no_proxy() -> None:
    with rate_proxy.serving(0) as address:
        assert address == ""
