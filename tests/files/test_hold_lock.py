"""A lock that lives as long as the connection over which it was asked for."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import hostlock
import pytest

from tests.files.activated_host import ActivatedHost

PROGRAM = """
import json, sys
from pathlib import Path
import layout
layout.LOCK = Path(sys.argv[1])
import hold_lock
hold_lock.main(json.loads(sys.argv[2]))
"""
ASK = 'while read -r request; do "$0" -c "$1" "$2" "$request" 2>&1; echo "exit $?"; done'


class Connection:
    """A shell in place of sshd's process: what it starts runs under it, while it lives."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process

    def ask(self, *, hold: bool = True, what: str = "upgrade (run 1)", force: bool = False) -> str:
        """What the program said and how it ended."""
        assert self.process.stdin and self.process.stdout
        request = {"hold": hold, "who": "ann", "origin": "desk", "what": what, "break_lock": force}
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        lines = iter(self.process.stdout.readline, "")
        said = []
        for line in lines:
            said.append(line.strip())
            if line.startswith("exit "):
                break
        return " ".join(said)


class Host:
    """Where the lock lies, and connections to it."""

    def __init__(self, folder: Path) -> None:
        self.lock = ActivatedHost(folder).folder / "run/lock"
        self._bin = folder / "bin"
        self._sshd = shutil.copy(shutil.which("sh") or "/bin/sh", folder / "sshd")

    @contextmanager
    def connection(self) -> Iterator[Connection]:
        words = [self._sshd, "-c", ASK, sys.executable, PROGRAM, str(self.lock)]
        path = str(Path(hostlock.__file__).parent)
        with subprocess.Popen(
            words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            env={**os.environ, "PYTHONPATH": path, "PATH": f"{self._bin}:{os.environ['PATH']}"},
        ) as process:  # fmt: skip
            yield Connection(process)
            process.kill()

    def holder(self) -> dict[str, object]:
        found: dict[str, object] = json.loads((self.lock / "owner.json").read_text())
        return found


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path)


def test_it_is_the_connections_and_given_back_by_it_alone(host: Host) -> None:
    with host.connection() as first, host.connection() as second:
        assert first.ask() == "exit 0" == first.ask()
        assert host.holder()["pid"] == first.process.pid
        assert second.ask(hold=False) == "exit 0" and host.lock.exists()
        assert first.ask(hold=False) == "exit 0" and not host.lock.exists()


def test_another_run_is_refused_while_the_connection_lives(host: Host) -> None:
    with host.connection() as second:
        with host.connection() as first:
            assert first.ask() == "exit 0"
            said = second.ask(what="upgrade (run 2)")
            assert "is held by ann from desk" in said and said.endswith("exit 75")
        assert second.ask(what="upgrade (run 2)") == "exit 0"
        assert host.holder()["pid"] == second.process.pid


def test_a_new_connection_of_the_same_run_ends_the_one_that_it_lost(host: Host) -> None:
    with host.connection() as first, host.connection() as second:
        assert first.ask() == "exit 0" == second.ask()
        assert first.process.wait(5) != 0
        assert host.holder()["pid"] == second.process.pid


def test_a_broken_lock_ends_the_connection(host: Host) -> None:
    with host.connection() as first, host.connection() as second:
        assert first.ask() == "exit 0"
        assert second.ask(what="remove", force=True) == "exit 0"
        assert first.process.wait(5) != 0
