"""A daemon on Docker's socket that answers as it is told."""

from __future__ import annotations

import json
import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import docker_api
import pytest

ID = "715d50c3"
INSPECTED = {  # from `docker inspect` of Docker 26.1.5, cut to what is read
    "Id": ID,
    "Name": "/vllm",
    "State": {"Status": "exited", "Running": False, "OOMKilled": True, "Pid": 0, "ExitCode": 137},
    "Config": {"Image": "vllm@sha256:0", "Labels": {"vllm-fleet.release": "aaaaaaaaaaaa"}},
}


class Daemon(socketserver.ThreadingUnixStreamServer):
    """``answers``: request → status and body; what is not there is 404."""

    answers: dict[str, tuple[str, object]]
    asked: list[str]


class Handler(socketserver.StreamRequestHandler):
    server: Daemon

    def handle(self) -> None:
        request = self.rfile.readline().decode().rpartition(" HTTP/")[0]
        while self.rfile.readline().strip():
            pass
        self.server.asked.append(request)
        absent = ("404 Not Found", {"message": "No such container"})
        status, body = self.server.answers.get(request, absent)
        text = (
            body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
        )
        self.wfile.write(f"HTTP/1.0 {status}\r\n\r\n".encode() + text)


@contextmanager
def daemon(
    folder: Path, monkeypatch: pytest.MonkeyPatch, **answers: tuple[str, object]
) -> Iterator[Daemon]:
    """The host programs ask this one until the end. ``answers``: to DELETE and GET of ``ID``."""
    monkeypatch.setattr(docker_api, "SOCKET", str(folder / "docker.sock"))
    with Daemon(docker_api.SOCKET, Handler) as server:
        paths = {"DELETE": f"/containers/{ID}?force=1", "GET": f"/containers/{ID}/json"}
        server.answers = {f"{verb} {paths[verb]}": said for verb, said in answers.items()}
        server.asked = []
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        try:
            yield server
        finally:
            server.shutdown()
