"""A cache server that is dead keeps nobody waiting."""

from __future__ import annotations

import socket
from pathlib import Path

from facts_nfs import answers, mounted, nfs, usable, without

REQUEST = {
    "nfs": {"server": "127.0.0.1", "port": 1, "where": "/srv/models"},
    "files": ["/etc/hosts", "/srv/models/hub", "/srv/models2"],
    "disks": ["/srv/models/hub"],
    "models": [{"hub": "/srv/models/hub"}],
}


def test_a_port_is_open_or_not() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert answers("127.0.0.1", port)
    assert not answers("127.0.0.1", port)


def test_what_is_mounted_is_read_from_the_kernel(tmp_path: Path) -> None:
    assert mounted("/proc") == "proc" and mounted(str(tmp_path)) is None
    assert usable("/proc") and not usable(str(tmp_path / "none"))


def test_nothing_is_asked_without_a_shared_cache() -> None:
    assert nfs(None) == {}


def test_a_dead_mount_is_not_touched() -> None:
    left = without(REQUEST, {"source": "192.0.2.10:/srv", "usable": False})
    assert (left["files"], left["disks"], left["models"]) == (
        ["/etc/hosts", "/srv/models2"],
        [],
        [],
    )
    assert without(REQUEST, {"source": "192.0.2.10:/srv", "usable": True}) is REQUEST
    assert without(REQUEST, {"source": None}) is REQUEST
