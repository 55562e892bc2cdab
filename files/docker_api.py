"""Docker as its daemon tells it over the socket: its command line costs 30 ms a question."""

import json
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, BinaryIO

SOCKET = "/run/docker.sock"
ANSWER_S = 20


class Failed(OSError):
    """The daemon answers, but not with what was asked for."""


class Absent(Failed):
    """The daemon has no such thing."""


class Conflict(Failed):
    """The daemon is at it already, or cannot in the state that the thing is in."""


REFUSALS = {" 404 ": Absent, " 409 ": Conflict}


@contextmanager
def answer(path: str, timeout_s: float | None, method: str = "GET") -> Iterator[BinaryIO]:
    """The body of the daemon's answer; OSError when it gives none, or refuses.

    HTTP/1.0, so that the answer simply ends where the connection does. ``timeout_s``: of each read.
    """
    with socket.socket(socket.AF_UNIX) as link:
        link.settimeout(timeout_s)
        link.connect(SOCKET)
        link.sendall(f"{method} {path} HTTP/1.0\r\nHost: docker\r\n\r\n".encode())
        with link.makefile("rb") as body:
            status = body.readline().decode(errors="replace").strip()
            if not status.startswith("HTTP/"):
                raise OSError(f"{SOCKET}: no answer to {method} {path}")
            while body.readline().strip():
                pass
            if " 200 " not in status and " 204 " not in status:
                said = " ".join(body.read(300).decode(errors="replace").split())
                kinds = (kind for code, kind in REFUSALS.items() if code in status)
                raise next(kinds, Failed)(f"Docker: {status}: {said}")
            yield body


def ask(path: str, timeout_s: float = ANSWER_S, *, method: str = "GET") -> Any:
    """Its answer, None to anything but GET; OSError or ValueError where it is none."""
    with answer(path, timeout_s, method) as body:
        text = body.read()
    return json.loads(text) if method == "GET" else None
