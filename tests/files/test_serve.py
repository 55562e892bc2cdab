"""vllm.service's program while Docker is down."""

from __future__ import annotations

import os
import signal
import threading
from pathlib import Path

import docker_api
import journal
import layout
import pytest
import release as releases
import serve
from container import DockerDown

from tests.files.activated_host import A, B, activated_host, begun
from tests.files.docker_daemon import daemon


@pytest.fixture(autouse=True)
def without_docker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Release a is to serve; Docker's socket is not there, and patience with it is short."""
    activated_host(tmp_path, monkeypatch)
    releases.point(current=A, previous=None)
    monkeypatch.setattr(docker_api, "SOCKET", str(tmp_path / "docker.sock"))
    monkeypatch.setattr(serve, "DOCKER_BOUND_S", 0.1)


def test_docker_is_waited_for_without_end_and_that_is_no_failed_start() -> None:
    handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    told = threading.Timer(2.5, os.kill, (os.getpid(), signal.SIGTERM))
    told.start()
    try:
        assert serve.serve() == 0
    finally:
        told.cancel()
        for number, handler in handlers.items():
            signal.signal(number, handler)
    assert not layout.STARTS.exists() and not layout.FAILURE.exists()


def test_when_docker_answers_the_wait_is_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stop = threading.Event()
    waiting = threading.Thread(target=serve.await_docker, args=(stop,))
    waiting.start()
    waiting.join(1.5)
    assert waiting.is_alive()
    with daemon(tmp_path, monkeypatch) as docker:
        docker.answers["GET /version"] = ("200 OK", {"Version": "29.8.0"})
        waiting.join(5)
    assert not waiting.is_alive() and not stop.is_set()


def test_a_switch_does_not_wait_for_docker_for_ever() -> None:
    journal.keep(begun(B, A))
    with pytest.raises(DockerDown, match="Docker gave no answer for 0 s"):
        serve.serve()
    assert not layout.STARTS.exists() and layout.FAILURE.exists()
