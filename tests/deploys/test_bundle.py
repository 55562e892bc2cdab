"""The bundle as a host's programs ask for it: HTTP over one connection, here a pair of sockets."""

from __future__ import annotations

import http.client
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from deploys import bundle as served
from fleet.bundle import Bundle
from fleet.bundle_fetch import entry_of, save
from fleet.settings import Settings

CONTENT = bytes(range(256)) * 2000


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "packages/vendor.example/a.deb"
    path.parent.mkdir(parents=True)
    path.write_bytes(CONTENT)
    (tmp_path / "unlisted").write_text("secret")
    files = {"packages/vendor.example/a.deb": entry_of(path)}
    save(tmp_path, Bundle(arch="amd64", files=files))
    return tmp_path


class Connection(http.client.HTTPConnection):
    """HTTP over a socket that is connected already."""

    def __init__(self, sock: socket.socket) -> None:
        super().__init__("bundle")
        self.sock = sock


@contextmanager
def asking(folder: Path) -> Iterator[Connection]:
    ours, theirs = socket.socketpair()
    arguments: Any = (theirs, ("127.0.0.1", 1), folder, served.opened(folder))
    thread = threading.Thread(target=served.converse, args=arguments)
    thread.start()
    connection = Connection(ours)
    try:
        yield connection
    finally:
        connection.close()
        thread.join(10)
        assert not thread.is_alive()


def test_one_connection_answers_many_requests(folder: Path) -> None:
    deb = "/packages/vendor.example/a.deb"
    with asking(folder) as connection:
        for method, path, headers, status, body in (
            ("GET", deb, {}, 200, CONTENT),
            ("HEAD", deb, {}, 200, b""),
            ("GET", deb, {"Range": "bytes=9000-"}, 206, CONTENT[9000:]),
            ("GET", deb, {"Range": "bytes=0-5"}, 200, CONTENT),
            ("GET", deb, {"Range": "bytes=9999999-"}, 200, CONTENT),
            ("GET", "/packages/../unlisted", {}, 404, b""),
            ("GET", "/packages/%2e%2e/unlisted", {}, 404, b""),
            ("GET", "/unlisted", {}, 404, b""),
            ("GET", "/v2/", {}, 200, b""),
        ):  # fmt: skip
            connection.request(method, path, headers=headers)
            answer = connection.getresponse()
            assert (answer.status, answer.read()) == (status, body), path


def test_an_address_that_is_none_is_not_found(folder: Path) -> None:
    with asking(folder) as connection:
        connection.sock.sendall(b"GET http://[ HTTP/1.1\r\n\r\n")
        assert b" 404 " in connection.sock.recv(4096)


def test_what_is_no_request_ends_the_connection(folder: Path) -> None:
    with asking(folder) as connection:
        connection.sock.sendall(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 TLS\r\n\r\n")
        assert b"400" in connection.sock.recv(4096)


def test_nothing_can_be_written(folder: Path) -> None:
    with asking(folder) as connection:
        connection.request("PUT", "/packages/vendor.example/a.deb", body=b"x")
        assert connection.getresponse().status == 501


def test_a_client_that_goes_away_is_no_news(folder: Path) -> None:
    with asking(folder) as connection:
        connection.request("GET", "/packages/vendor.example/a.deb")
        connection.sock.recv(10)


def test_a_folder_without_a_bundle_is_told_before_the_first_connection(tmp_path: Path) -> None:
    settings = Settings.model_construct(bundle=str(tmp_path), host_arch="arm64")
    [line] = served.mistakes(settings)
    assert line.startswith(f"{tmp_path}/bundle.json: no bundle: No such file or directory")


def test_a_bundle_for_another_architecture_is_refused(folder: Path) -> None:
    settings = Settings.model_construct(bundle=str(folder), host_arch="arm64")
    assert served.mistakes(settings) == [f"{folder}: found a bundle for amd64, allowed: arm64"]
