"""The shared model cache: does its server answer, is it mounted, and does the mount answer?

A mount of a dead server keeps whoever touches it waiting, so it is tried by a child with a bound.
"""

import contextlib
import os
import socket
import subprocess
from typing import Any

ANSWER_S = 5


def nfs(wanted: dict[str, Any] | None) -> dict[str, Any]:
    """`wanted`: server, port, where (the mount point). Nothing is asked without it."""
    if not wanted:
        return {}
    source = mounted(wanted["where"])
    return {
        "answers": answers(wanted["server"], wanted["port"]),
        "source": source,
        "usable": source is not None and usable(wanted["where"]),
    }


def mounted(where: str) -> str | None:
    """What is mounted exactly there; null when nothing is."""
    found = None
    with open("/proc/self/mounts") as mounts:
        for line in mounts:
            source, point = line.split()[:2]
            if point == where:
                found = source  # the last one covers the others
    return found


def answers(server: str, port: int) -> bool:
    try:
        socket.create_connection((server, port), ANSWER_S).close()
    except OSError:
        return False
    return True


def usable(where: str) -> bool:
    argv = ["stat", "--file-system", where]
    child = subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        return child.wait(ANSWER_S) == 0
    except subprocess.TimeoutExpired:
        child.kill()
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.wait(1)
        return False


def without(request: dict[str, Any], found: dict[str, Any] | None) -> dict[str, Any]:
    """The request without what lies in a mount that does not answer."""
    if not found or not found.get("source") or found.get("usable"):
        return request
    where: str = request["nfs"]["where"]
    left = {
        key: [path for path in request.get(key, ()) if not inside(path, where)]
        for key in ("files", "disks")
    }
    models = [m for m in request.get("models", ()) if not inside(m["hub"], where)]
    return {**request, **left, "models": models}


def inside(path: str, where: str) -> bool:
    """Whether `path` is below `where`, or is it."""
    return os.path.commonpath([path, where]) == where
