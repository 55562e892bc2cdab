"""A server's log, followed through Docker's socket."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import container
import pytest
import serverlog
from serverlog import ServerLog

from tests.files.docker_daemon import ID, INSPECTED, daemon

RUNNING: dict[str, Any] = {
    **INSPECTED, "State": {"Status": "running", "OOMKilled": False, "Pid": 0, "ExitCode": 0},
}  # fmt: skip
DAMAGED = "Error grabbing logs: invalid character 'x' looking for beginning of value"


def part(stream: int, text: str) -> bytes:
    return bytes([stream, 0, 0, 0]) + len(text).to_bytes(4, "big") + text.encode()


def test_a_log_that_docker_cannot_read_is_tried_again_after_a_while_and_told_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(serverlog, "AGAIN_S", 0.5)
    written = part(1, "one\ntw") + part(2, "other\n") + part(1, "o\n") + part(3, DAMAGED)
    with daemon(tmp_path, monkeypatch, GET=("200 OK", RUNNING)) as docker:
        first = f"GET /containers/{ID}/logs?follow=1&stdout=1&stderr=1&since=0"
        docker.answers[first] = ("200 OK", written)
        log = ServerLog(container.parse(RUNNING))
        time.sleep(1.2)
        assert sum("/logs?" in line for line in docker.asked) in (2, 3)
        assert log.lines() == ["one", "other", "two"] and not log.ended.is_set()
        docker.answers[f"GET /containers/{ID}/json"] = ("200 OK", INSPECTED)
        assert log.ended.wait(5)
    assert log.final is not None and log.final.exit_code == 137
    told = capsys.readouterr().out.splitlines()
    assert told[:3] == ["one", "other", "two"]
    assert [line for line in told if DAMAGED in line] == [
        f"serve: the log of container {ID} is not to be had: {DAMAGED}"
    ]


def test_the_end_of_a_log_is_the_end_of_its_last_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with daemon(tmp_path, monkeypatch, GET=("200 OK", INSPECTED)) as docker:
        asked = f"GET /containers/{ID}/logs?follow=1&stdout=1&stderr=1&since=0"
        docker.answers[asked] = ("200 OK", part(2, "50 %\r100 %\nkilled in the midd"))
        log = ServerLog(container.parse(RUNNING))
        assert log.ended.wait(5)
    assert log.lines() == ["50 %", "100 %", "killed in the midd"]
