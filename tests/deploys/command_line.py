"""The real command line in a process of its own, against ports of this machine."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

REPO = Path(__file__).parent.parent.parent
GOOD: dict[str, object] = {
    "vllm_mode": "lab-standard",
    "vllm_model": "lab/tiny",
    "vllm_image": f"registry.lab:5000/vllm@sha256:{'0' * 64}",
}


class Port:
    """Accepts connections on loopback and counts them; ``hold`` keeps them open in silence."""

    def __init__(self, hold: bool) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.number: int = self.listener.getsockname()[1]
        self.seen: list[socket.socket] = []
        self.met = threading.Event()
        self._hold = hold
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            self.seen.append(connection)
            self.met.set()
            if not self._hold:
                connection.close()

    def close(self) -> None:
        # close() alone does not wake the thread in accept()
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
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
    """An inventory of hosts that are all that port, with ``data`` as its group data."""
    ssh = {"ssh_hostname": "127.0.0.1", "ssh_port": port, "ssh_user": "nobody"}
    return _inventory(folder, [f"spark-{i + 1:02d}" for i in range(count)], ssh, data)


def fake_inventory(folder: Path, count: int = 2, **data: object) -> Path:
    """pyinfra's own pretend hosts: every command succeeds and says nothing."""
    names = [f"@fake/{i + 1:02d}" for i in range(count)]
    return _inventory(folder, names, {"fake_delay": 0, **data}, GOOD)


def _inventory(
    folder: Path, names: list[str], of_host: Mapping[str, object], data: Mapping[str, object]
) -> Path:
    path = folder / "hosts.py"
    path.write_text(f"fleet = {[(name, dict(of_host)) for name in names]!r}\n")
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
