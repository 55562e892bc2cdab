"""The proxy that keeps a download to its rate."""

from __future__ import annotations

import socket
import time
from urllib.parse import urlsplit

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


def test_without_a_limit_there_is_no_proxy() -> None:
    with rate_proxy.serving(0) as address:
        assert address == ""
