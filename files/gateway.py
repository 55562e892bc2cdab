"""Speaks with this host's gateway, HAProxy, over its runtime socket. Stands alone.

Requests, each answered by one JSON line {"servers": {backend: {server: row}}, …}:
{"socket", "do": "state"}           how the servers stand
{"socket", "do": "drain", "server"} no new request for a server; "last" true, and nothing done, if
                                    no other would be left ("alone" allows that)
{"socket", "do": "ready", "server"} back in
A row is {"status", "sessions", "check"}. Without a running gateway "servers" is empty.
"""

from __future__ import annotations

import csv
import io
import json
import socket
from typing import Any

ANSWER_S = 10.0
Servers = dict[str, dict[str, dict[str, Any]]]


def ask(path: str, command: str) -> str:
    """The answer to one command; OSError where nothing listens."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(ANSWER_S)
        connection.connect(path)
        connection.sendall(f"{command}\n".encode())
        parts = []
        while part := connection.recv(65536):
            parts.append(part)
    return b"".join(parts).decode("utf-8", "replace")


def servers(path: str) -> Servers:
    """Every server of every model; {} where no gateway runs."""
    try:
        text = ask(path, "show stat")
    except (FileNotFoundError, ConnectionRefusedError):
        return {}
    found: Servers = {}
    for row in csv.DictReader(io.StringIO(text.removeprefix("# "))):
        backend, name = row["pxname"], row["svname"]
        if backend.startswith("model-") and name not in ("FRONTEND", "BACKEND"):
            found.setdefault(backend, {})[name] = {
                "status": row["status"],
                "sessions": int(row["scur"] or 0) + int(row["qcur"] or 0),
                "check": row["check_status"],
            }
    return found


def statuses(path: str) -> dict[str, str]:
    """Server → UP, DOWN, DRAIN, …"""
    rows = (row for found in servers(path).values() for row in found.items())
    return {name: str(row["status"]) for name, row in rows}


def put(path: str, server: str, state: str) -> None:
    """Set the state of a server wherever it is listed; OSError where HAProxy will not."""
    for backend, found in servers(path).items():
        if server in found:
            said = ask(path, f"set server {backend}/{server} state {state}").strip()
            if said:
                raise OSError(f"HAProxy: {backend}/{server}: {said}")


def drain(path: str, server: str, *, alone: bool) -> bool:
    """Whether it takes no new request now; False and as before where it is the last that serves.

    It leaves first and is counted then, so that of two that leave at once neither is overlooked.
    """
    before = statuses(path).get(server, "")
    put(path, server, "drain")
    for found in servers(path).values():
        others = [row for name, row in found.items() if name != server]
        up = any(str(row["status"]).startswith("UP") for row in others)
        if server in found and before.startswith("UP") and not up and not alone:
            put(path, server, "ready")
            return False
    return True


def main(request: dict[str, Any]) -> None:
    """Carry out the request and print the answer."""
    path, todo, last = str(request["socket"]), request["do"], False
    if todo == "drain":
        last = not drain(path, request["server"], alone=bool(request.get("alone")))
    elif todo == "ready":
        put(path, request["server"], "ready")
    print(json.dumps({"servers": servers(path), "last": last}, sort_keys=True), flush=True)
