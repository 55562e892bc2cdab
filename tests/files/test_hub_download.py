"""What the container does with each failure of huggingface_hub."""

from __future__ import annotations

import errno
import json

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
