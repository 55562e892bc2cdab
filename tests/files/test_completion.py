"""The gate against a server that behaves, and against every way not to."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import time
from pathlib import Path

import completion
import pytest

from tests.files.standin_process import NAME, free_port, standin

PROGRAM = Path(completion.__file__)


def test_a_good_server_gives_text_and_its_own_token_count(tmp_path: Path) -> None:
    with standin(tmp_path) as server:
        result = completion.complete(server.target())
    assert (result.ok, result.fault, result.completion_tokens) == (True, "", 16)
    assert result.text.strip()
    assert result.tokens_per_s == pytest.approx(16 / result.seconds, rel=0.3)


@pytest.mark.parametrize(
    ("knobs", "fault", "detail"),
    [
        ({"served_name": "other/name"}, "wrong_name", "serves other/name, wanted lab/tiny"),
        ({"error_500": True}, "http", "/v1/completions: HTTP 500"),
        ({"empty_text": True}, "empty", "0 tokens and 0 characters"),
        ({"wedge": True}, "timeout", "/v1/completions: no answer in 1 s"),
    ],
)
def test_each_failure_is_told_apart(
    tmp_path: Path, knobs: dict[str, object], fault: str, detail: str
) -> None:
    with standin(tmp_path) as server:
        server.knobs(**knobs)
        result = completion.complete(server.target(1))
    assert (result.ok, result.fault) == (False, fault)
    assert detail in result.detail


def test_a_server_that_asks_for_a_key_is_told_apart(tmp_path: Path) -> None:
    with standin(tmp_path, VLLM_API_KEY="sesame-open") as server:
        found = completion.complete(server.target())
    assert found.fault == "unauthorized"
    assert found.detail == "/v1/models: HTTP 401; wanted: no key on loopback"


def test_a_closed_port_is_refused() -> None:
    result = completion.complete(completion.Target("127.0.0.1", free_port(), NAME, 2))
    assert result.fault == "refused"


def test_a_listener_that_never_answers_costs_the_timeout_and_no_more() -> None:
    with socket.create_server(("127.0.0.1", 0)) as mute:
        begun = time.monotonic()
        port = mute.getsockname()[1]
        result = completion.complete(completion.Target("127.0.0.1", port, NAME, 1))
    assert result.fault == "timeout"
    assert time.monotonic() - begun < 2


def test_as_a_program_it_prints_one_json_line_from_the_release(tmp_path: Path) -> None:
    with standin(tmp_path) as server:
        facts = {"listen": "127.0.0.1", "port": server.port, "served_name": NAME}
        (tmp_path / "release.json").write_text(json.dumps(facts))
        request = {"release_json": str(tmp_path / "release.json"), "max_tokens": 3}
        out = subprocess.run(
            [sys.executable, PROGRAM, json.dumps(request)], capture_output=True, check=True
        ).stdout
    assert json.loads(out)["completion_tokens"] == 3
    assert out.count(b"\n") == 1


def test_it_runs_from_stdin_without_being_installed() -> None:
    request = {"listen": "127.0.0.1", "port": free_port(), "served_name": NAME}
    source = f"{PROGRAM.read_text()}\nmain({request!r})\n"
    done = subprocess.run([sys.executable, "-"], input=source, capture_output=True, text=True)
    assert json.loads(done.stdout)["fault"] == "refused"
    assert done.stderr == ""


def test_without_a_release_it_says_so(tmp_path: Path) -> None:
    request = {"release_json": str(tmp_path / "none.json")}
    done = subprocess.run([sys.executable, PROGRAM, json.dumps(request)], capture_output=True)
    assert "no release to check" in json.loads(done.stdout)["detail"]
