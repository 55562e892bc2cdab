"""Docker as its daemon tells it over the socket: its command line costs 30 ms a question."""

import json
import socket
from typing import Any

SOCKET = "/run/docker.sock"
ANSWER_S = 20


class Failed(OSError):
    """The daemon answers, but not with what was asked for."""


class Absent(Failed):
    """The daemon has no such thing."""


class Conflict(Failed):
    """The daemon is at it already, or cannot in the state that the thing is in."""


REFUSALS = {" 404 ": Absent, " 409 ": Conflict}


def ask(path: str, timeout_s: float = ANSWER_S, *, method: str = "GET") -> Any:
    """What the daemon answers, None if nothing; OSError or ValueError without an answer.

    HTTP/1.0, so that the answer simply ends where the connection does.
    """
    with socket.socket(socket.AF_UNIX) as link:
        link.settimeout(timeout_s)
        link.connect(SOCKET)
        link.sendall(f"{method} {path} HTTP/1.0\r\nHost: docker\r\n\r\n".encode())
        answer = b"".join(iter(lambda: link.recv(65536), b""))
    head, _, body = answer.partition(b"\r\n\r\n")
    status = head.split(b"\r\n")[0].decode(errors="replace")
    if not status.startswith("HTTP/"):
        raise OSError(f"{SOCKET}: no answer to {method} {path}")
    if " 204 " in status:
        return None
    if " 200 " not in status:
        said = " ".join(body[:300].decode(errors="replace").split())
        kinds = (kind for code, kind in REFUSALS.items() if code in status)
        raise next(kinds, Failed)(f"Docker: {status}: {said}")
    return json.loads(body)
