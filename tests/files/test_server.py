"""A server that ends: what it tells systemd meanwhile."""

from __future__ import annotations

import socket
import threading
from pathlib import Path

import container
import pytest
from server import Server
from serverlog import ServerLog

from tests.files.docker_daemon import INSPECTED, daemon
from tests.files.standin_process import standin
from tests.files.test_proofs import parse_release


def served(port: int) -> Server:
    """A server that answers on ``port``; of its container only Docker's record is left."""
    made = object.__new__(Server)
    made.release, made.stop = parse_release(port), threading.Event()
    made.item = container.parse(INSPECTED)  # type: ignore[arg-type]
    made.log = object.__new__(ServerLog)
    made.log.ended, made.log.drained_at = threading.Event(), None
    return made


def test_a_head_that_drains_because_another_host_leaves_feeds_its_watchdog(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody told its unit to stop: WatchdogSec= goes on, and may be shorter than the drain."""
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
    with (
        standin(tmp_path) as server,
        daemon(tmp_path, monkeypatch, DELETE=("204 No Content", None)),
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener,
    ):
        listener.bind(str(tmp_path / "notify"))
        server.knobs(itl_s=0.1)
        server.load(1, tokens=15)
        leaving = served(server.port)
        leaving.drain(asked=False)
        leaving.end(0)
        listener.setblocking(False)
        told = [listener.recv(4096).decode() for _ in range(3)]
    assert told[0].startswith("STATUS=draining: 1 running")
    assert all("WATCHDOG=1" in message for message in told)
