"""The real command line in a process of its own, against ports of this machine."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

REPO = Path(__file__).parent.parent.parent
GOOD: dict[str, object] = {
    "vllm_mode": "lab-standard",
    "vllm_model": "lab/tiny",
    "vllm_image": f"registry.lab:5000/vllm@sha256:{'0' * 64}",
}


ADDRESSES = ("127.0.0.1", "127.0.0.2")


class Port:
    """Accepts connections on loopback and counts them; ``hold`` keeps them open in silence."""

    def __init__(self, hold: bool) -> None:
        self.seen: list[socket.socket] = []
        self.met = threading.Event()
        self._hold = hold
        first = socket.create_server((ADDRESSES[0], 0))
        self.number: int = first.getsockname()[1]
        more = [socket.create_server((address, self.number)) for address in ADDRESSES[1:]]
        self._listeners = (first, *more)
        for listener in self._listeners:
            threading.Thread(target=self._accept, args=(listener,), daemon=True).start()

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            self.seen.append(connection)
            self.met.set()
            if not self._hold:
                connection.close()

    def close(self) -> None:
        for listener in self._listeners:
            listener.shutdown(socket.SHUT_RDWR)  # close() alone does not wake accept()
            listener.close()
        for connection in self.seen:
            connection.close()


@contextmanager
def port(*, hold: bool = False) -> Iterator[Port]:
    opened = Port(hold)
    try:
        yield opened
    finally:
        opened.close()


def inventory(folder: Path, port: int, count: int = 2, data: Mapping[str, object] = GOOD) -> Path:
    """An inventory of hosts that are all at that port, with ``data`` as its group data."""
    ssh = {"ssh_port": port, "ssh_user": "nobody"}
    hosts = [
        (f"spark-{i + 1:02d}", {"ssh_hostname": address, **ssh})
        for i, address in enumerate(ADDRESSES[:count])
    ]
    return _inventory(folder, hosts, data)


def fake_inventory(folder: Path, count: int = 2, **data: object) -> Path:
    """pyinfra's own pretend hosts: every command succeeds and says nothing."""
    hosts = [(f"@fake/{i + 1:02d}", {"fake_delay": 0, **data}) for i in range(count)]
    return _inventory(folder, hosts, GOOD)


def _inventory(
    folder: Path, hosts: Sequence[tuple[str, Mapping[str, object]]], data: Mapping[str, object]
) -> Path:
    path = folder / "hosts.py"
    path.write_text(f"fleet = {hosts!r}\n")
    (folder / "group_data").mkdir(exist_ok=True)
    lines = [f"{key} = {value!r}\n" for key, value in data.items()]
    (folder / "group_data" / "all.py").write_text("".join(lines))
    return path


def words(*arguments: str | Path) -> list[str]:
    return [sys.executable, "-m", "pyinfra", *map(str, arguments)]


def run(*arguments: str | Path, timeout: float = 60) -> subprocess.CompletedProcess[str]:
    """Both streams in ``stdout``; no terminal."""
    return subprocess.run(
        words(*arguments),
        cwd=REPO,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=timeout,
    )
