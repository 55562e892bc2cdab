"""Our container is removed through Docker's socket, and what hinders that hides nothing else."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import container
import docker_api
import pytest
import serve
from container import DockerDown
from errors import HostError
from server import Server

from tests.files.docker_daemon import ID, INSPECTED, daemon

ITEM = container.parse(INSPECTED)  # type: ignore[arg-type]
STUCK = "tried to kill container, but did not receive an exit event"
UNDER_WAY = f"removal of container {ID} is already in progress"


def refused(status: str, message: str) -> tuple[str, object]:
    return status, {"message": message}


@pytest.mark.parametrize(
    "answer", [("204 No Content", None), refused("404 Not Found", f"No such container: {ID}")]
)
def test_what_is_removed_or_was_gone_is_no_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: tuple[str, object]
) -> None:
    with daemon(tmp_path, monkeypatch, DELETE=answer) as docker:
        container.remove(ITEM)
    assert docker.asked == [f"DELETE /containers/{ID}?force=1"]


def test_a_removal_that_is_under_way_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers: dict[str, Any] = {
        "DELETE": refused("409 Conflict", UNDER_WAY), "GET": ("200 OK", INSPECTED),
    }  # fmt: skip
    with daemon(tmp_path, monkeypatch, **answers) as docker:
        monkeypatch.setattr(container, "REMOVAL_S", 0.3)
        with pytest.raises(HostError, match=f"container vllm is not gone .*{UNDER_WAY}"):
            container.remove(ITEM)
        threading.Timer(0.3, docker.answers.clear).start()
        monkeypatch.setattr(container, "REMOVAL_S", 20.0)
        container.remove(ITEM)


@pytest.mark.parametrize("made", ["nothing there", "nobody listens"])
def test_a_daemon_that_is_down_is_told_as_that(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, made: str
) -> None:
    if made == "nothing there":
        monkeypatch.setattr(docker_api, "SOCKET", str(tmp_path / "docker.sock"))
    else:
        with daemon(tmp_path, monkeypatch):
            pass  # its socket stays
    with pytest.raises(DockerDown, match=r"Docker is down .*see systemctl status docker"):
        container.remove(ITEM)


def test_a_container_that_stays_hides_not_why_the_server_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    server = object.__new__(Server)
    server.item = ITEM
    answer = refused("500 Internal Server Error", STUCK)
    with daemon(tmp_path, monkeypatch, DELETE=answer) as docker:
        server.end(0)
        with pytest.raises(docker_api.Absent):
            container.ours()
        docker.answers[docker.asked[-1]] = ("200 OK", [{"Id": ID}])
        docker.answers[f"GET /containers/{ID}/json"] = ("200 OK", INSPECTED)
        assert serve.clear() == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2
    assert all(line.startswith("serve: Docker: ") and STUCK in line for line in lines)
