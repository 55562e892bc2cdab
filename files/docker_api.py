"""Docker as its daemon tells it over the socket: its command line costs 30 ms a question."""

import json
import socket
from typing import Any

SOCKET = "/run/docker.sock"
ANSWER_S = 20


class Absent(OSError):
    """The daemon has no such thing."""


def ask(path: str) -> Any:
    """GET from the daemon; OSError or ValueError when it gives no answer that is one.

    HTTP/1.0, so that the answer simply ends where the connection does.
    """
    with socket.socket(socket.AF_UNIX) as link:
        link.settimeout(ANSWER_S)
        link.connect(SOCKET)
        link.sendall(f"GET {path} HTTP/1.0\r\nHost: docker\r\n\r\n".encode())
        answer = b"".join(iter(lambda: link.recv(65536), b""))
    head, _, body = answer.partition(b"\r\n\r\n")
    status = head.split(b"\r\n")[0]
    if b" 200 " not in status:
        raise (Absent if b" 404 " in status else OSError)(answer[:300].decode(errors="replace"))
    return json.loads(body)
