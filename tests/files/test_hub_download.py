"""What the container does with each failure of huggingface_hub."""

from __future__ import annotations

import errno
import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import hub_download
import pytest
from hub_download import Download, final, told


class GatedRepoError(Exception):
    """As huggingface_hub names it."""


class LocalEntryNotFoundError(FileNotFoundError):
    """What it raises when the Hub cannot be reached: not final."""


def test_a_failure_that_passes_is_tried_again_and_told(capsys: pytest.CaptureFixture[str]) -> None:
    asked: list[str] = []

    def fetch(path: str) -> None:
        asked.append(path)
        if len(asked) < 2:
            raise ConnectionError("reset by peer")

    work = Download(fetch, patience_s=10)
    work.one("a")
    assert asked == ["a", "a"] and not work.failed
    assert json.loads(capsys.readouterr().out)["why"] == "ConnectionError: reset by peer"


def test_a_file_that_was_long_under_way_has_not_failed_yet() -> None:
    asked: list[str] = []

    def fetch(path: str) -> None:
        asked.append(path)
        if len(asked) == 1:
            time.sleep(2)
            raise ConnectionError("reset by peer")

    work = Download(fetch, patience_s=1.3)
    work.one("a")
    assert asked == ["a", "a"] and not work.failed


def test_an_attempt_long_enough_to_bring_bytes_begins_the_patience_anew(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("hub_download.MOVED_S", 0.5)
    asked: list[str] = []

    def fetch(path: str) -> None:
        asked.append(path)
        time.sleep(2)
        if len(asked) < 3:
            raise ConnectionError("reset by peer")

    work = Download(fetch, patience_s=1.3)
    work.one("a")
    assert asked == ["a", "a", "a"] and not work.failed


FAILS = """
import hub_download
hub_download.PAUSED_S = 0.5
def fetch(path):
    raise ConnectionError("refused")
work = hub_download.Download(fetch, patience_s=6)
work.one("a")
"""


def test_a_pause_is_no_failing() -> None:
    """It fails after about 0, 1 and 3 s, and gives up there: the next wait is 4 s."""
    files = Path(hub_download.__file__).parent
    words = [sys.executable, "-c", FAILS]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True, cwd=files) as process:
        assert process.stdout is not None
        process.stdout.readline()  # the first failure
        process.send_signal(signal.SIGSTOP)
        time.sleep(7)
        process.send_signal(signal.SIGCONT)
        again = process.stdout.read().splitlines()
    assert len(again) == 1


def test_patience_ends_and_stops_the_other_files() -> None:
    def fetch(path: str) -> None:
        raise ConnectionError("refused")

    work = Download(fetch, patience_s=0.5)
    work.one("a")
    work.one("b")
    assert work.failed == {"a": "ConnectionError: refused"} and not work.final


def test_what_waiting_cannot_mend_is_not_tried_again() -> None:
    asked: list[str] = []

    def fetch(path: str) -> None:
        asked.append(path)
        raise GatedRepoError("403")

    work = Download(fetch, patience_s=60)
    work.one("a")
    assert asked == ["a"] and work.final and "is gated" in work.failed["a"]


def test_an_unreachable_hub_is_not_a_missing_file() -> None:
    assert final(LocalEntryNotFoundError("no connection")) == ""
    assert final(OSError(errno.ENOSPC, "No space left on device")) == "the disk is full"
    wrapped = RuntimeError("advice")
    wrapped.__cause__ = OSError(errno.ENOSPC, "No space left on device")
    assert final(wrapped) == "the disk is full"
    assert told(wrapped).startswith("OSError")
