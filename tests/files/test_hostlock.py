"""The lock of a host between living processes."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

import activate
import hostlock
import journal
import layout
import pytest
from errors import HostError
from hostlock import Held

from tests.files.activated_host import A, ActivatedHost, B, activated_host, begun

HOLDER = """
import sys, time
from pathlib import Path
import layout
layout.LOCK = Path(sys.argv[1])
import hostlock
mine = hostlock.owner("ann", "desk", "benchmark")
hostlock.take(mine)
print("held", flush=True)
try:
    time.sleep(60)
finally:
    time.sleep(float(sys.argv[2]))
    hostlock.free(mine)
"""


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ActivatedHost:
    monkeypatch.setenv("PYTHONPATH", str(Path(hostlock.__file__).parent))
    return activated_host(tmp_path, monkeypatch)


@contextmanager
def holder(ends_in_s: float) -> Iterator[subprocess.Popen[str]]:
    """Another process that has the lock; told to stop, it has something to do first."""
    words = [sys.executable, "-c", HOLDER, str(layout.LOCK), str(ends_in_s)]
    with subprocess.Popen(
        words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


def mine(what: str = "activate b") -> hostlock.Owner:
    return hostlock.owner("bob", "shell", what)


@pytest.mark.usefixtures("host")
def test_a_broken_lock_is_taken_when_its_holder_has_ended() -> None:
    with holder(0.5) as other:
        with pytest.raises(Held, match="is held by ann from desk"):
            hostlock.take(mine())
        note = hostlock.take(owner := mine(), break_it=True)
        assert other.wait(5) == 1
        assert other.stderr is not None and other.stderr.read() == "benchmark: told to stop\n"
    assert note.startswith("took over the lock of ann from desk, for ")
    assert note.endswith("s: benchmark (broken on request)")
    assert hostlock.holder() == owner


@pytest.mark.usefixtures("host")
def test_a_holder_that_does_not_end_keeps_its_lock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hostlock, "END_S", 0.3)
    with holder(30) as other:
        with pytest.raises(Held, match=f"its process {other.pid} has not ended after 0 s") as told:
            hostlock.take(mine(), break_it=True)
        assert other.poll() is None and "\n" not in str(told.value)
        held = hostlock.holder()
        assert held is not None and held.who == "ann"


@pytest.mark.usefixtures("host")
def test_only_its_holder_gives_a_lock_back() -> None:
    owner = mine()
    assert hostlock.take(owner) == ""
    hostlock.free(mine())
    hostlock.free(None)
    assert hostlock.holder() == owner
    hostlock.free(owner)
    assert not layout.LOCK.exists()
    hostlock.free(owner)


def test_a_launch_without_the_lock_leaves_the_others_activation_alone(host: ActivatedHost) -> None:
    hostlock.take(mine())
    theirs = journal.keep(begun(B, A))
    with pytest.raises(Held, match="was taken over by bob from shell"):
        activate.launch(begun(A, None), mine())
    assert (journal.load(), host.asked()) == (theirs, [])


def test_a_launch_that_loses_the_lock_does_not_stop_the_others(host: ActivatedHost) -> None:
    hostlock.take(owner := mine())
    (host.folder / "other.json").write_text(json.dumps(asdict(mine("activate c"))))
    program = host.folder / "bin/systemd-run"
    program.write_text(f"#!/bin/sh\ncp {host.folder}/other.json {hostlock.OWNER}; exit 1\n")
    with pytest.raises(Held, match="activate c"):
        activate.launch(begun(A, None), owner)
    found = journal.load()
    assert found is not None and not found.outcome
    assert not [line for line in host.asked() if line.startswith("stop")]


def test_a_launch_that_systemd_refuses_is_closed(host: ActivatedHost) -> None:
    hostlock.take(owner := mine())
    (host.folder / "bin/systemd-run").write_text("#!/bin/sh\necho 'no bus' >&2; exit 1\n")
    with pytest.raises(HostError, match="no bus"):
        activate.launch(begun(A, None), owner)
    found = journal.load()
    assert found is not None and found.reason.startswith("not begun: systemd-run")
