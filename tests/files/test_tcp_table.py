"""The kernel's table of sockets, on a host without IPv6 too."""

from __future__ import annotations

import json
import os
import socket
import subprocess
from pathlib import Path

import facts_network
import front_door
import observation
import pytest
import tcp_table

from deploys import programs
from tests.files.test_proofs import parse_release


def test_a_host_without_ipv6_has_one_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    only = tmp_path / "tcp"
    monkeypatch.setattr(tcp_table, "TABLES", (str(only), str(tmp_path / "tcp6")))
    facts_network.tcp.cache_clear()
    seen = observation.Seen()
    with socket.create_server(("127.0.0.1", 0)) as held:
        only.write_text(Path("/proc/net/tcp").read_text())
        port = int(held.getsockname()[1])
        observation._from_kernel(parse_release(port), seen)
        [found] = facts_network.listeners([port])
        assert front_door.stranger(port) == ""
    assert found["pid"] == os.getpid()
    [one] = seen.of("listen")
    assert one.value == f"127.0.0.1 by user {os.getuid()}"
    assert one.line.startswith(f"{only}: ")


def test_the_probe_of_the_door_brings_along_what_it_reads_the_table_with() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        request = {
            "address": "127.0.0.1", "port": free.getsockname()[1], "name": "spark", "ca": None,
            "accepted": [], "refused": [], "timeout_s": 0,
        }  # fmt: skip
        text = programs.stdin_with_siblings("front_door", request)
        done = subprocess.run(
            programs.PYTHON, input=text, capture_output=True, text=True, check=True
        )
    [told] = json.loads(done.stdout)["problems"]
    assert "without a key: found [Errno 111] Connection refused, wanted 200" in told
