"""Asks every route that vLLM has through the proxy: without a key, a wrong one, the right.

The routes are those of the server's own openapi.json and known ones that it does not list. Runs on
the host, as clients do from outside; keys travel on stdin. Nothing is steered by the asking: bodies
cannot be parsed, and what needs no body is asked by GET.
"""

from __future__ import annotations

import http.client
import json
import socket
from typing import Any

import front_door

UNLISTED = (
    *("/invocations", "/metrics", "/docs", "/redoc", "/openapi.json", "/version", "/load", "/ping"),
    *("/server_info", "/sleep", "/wake_up", "/is_sleeping", "/reset_prefix_cache"),
    *("/collective_rpc", "/pause", "/resume", "/start_profile", "/stop_profile"),
    *("/v1/load_lora_adapter", "/v1/unload_lora_adapter", "/tokenize", "/detokenize"),
    *("/inference/v1/generate", "/scale_elastic_ep", "/abort_requests"),
    *("//v1/models", "/v1/../metrics", "/V1/models", "/v1/models/", "/%76%31/models"),
)
OPEN_TO_ALL = {"/health"}
CLOSED = {"401", "403", "404", "405", "429"}  # 405 of the proxy; vLLM's own is told apart below
WRONG_KEYS = 20  # a proxy that counts wrong keys must not shut us out
BROKEN = b"{"  # no handler gets past it
BOUND_S = 10.0


def main(request: dict[str, Any]) -> None:
    """Keys of ``request``: those of front_door.py, and ``direct``: vLLM's own port on loopback."""
    found: dict[str, Any] = {"problems": front_door.settled(request), "routes": 0}
    if not found["problems"]:
        found |= probe(request)
    print(json.dumps(found, sort_keys=True), flush=True)


def probe(request: dict[str, Any]) -> dict[str, Any]:
    """Counts of answers by kind of key, and a line for each route that is open and should not be.

    Without any accepted key there is nothing to be closed: only routes are counted.
    """
    routes = listed(int(request["direct"]))
    routes |= {("GET", path) for path in UNLISTED}
    ordered = sorted(routes)
    counts: dict[str, dict[str, int]] = {"without": {}, "wrong": {}, "right": {}}
    opened = []
    for number, route in enumerate(ordered):
        for kind, key in kinds(request, number).items():
            status, content = ask(request, *route, key)
            counts[kind][status] = counts[kind].get(status, 0) + 1
            if kind != "right" and route[1] not in OPEN_TO_ALL and lets_in(status, content):
                opened.append(f"{route[0]} {route[1]} {kind} key: HTTP {status}")
    problems = opened if request["accepted"] else []
    return {"routes": len(ordered), "counts": counts, "open": opened, "problems": problems}


def kinds(request: dict[str, Any], number: int) -> dict[str, str]:
    """Which keys a route is asked with."""
    accepted = request["accepted"]
    wrong = {"wrong": front_door.NO_KEY} if accepted and number < WRONG_KEYS else {}
    return {"without": "", **wrong, **({"right": accepted[0]} if accepted else {})}


def lets_in(status: str, content: str) -> bool:
    """Whether an answer comes from behind the door."""
    if status == "405":
        return '"detail":"Method Not Allowed"' in content  # vLLM's own words
    return status.isdigit() and status not in CLOSED


def listed(port: int) -> set[tuple[str, str]]:
    """Method and path of the routes in the openapi.json of the server on loopback."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=BOUND_S)
    try:
        connection.request("GET", "/openapi.json")
        paths = json.loads(connection.getresponse().read()).get("paths", {})
    except (OSError, http.client.HTTPException, ValueError):
        return set()
    finally:
        connection.close()
    return {
        (method.upper(), str(path).replace("{", "").replace("}", ""))
        for path, methods in paths.items()
        for method in methods
        if method in ("get", "post", "put", "delete")
    }


def ask(request: dict[str, Any], method: str, path: str, key: str) -> tuple[str, str]:
    """Status and the beginning of the content; or why there is none."""
    where = (str(request["address"]), int(request["port"]))
    connection = http.client.HTTPConnection(*where, timeout=BOUND_S)
    headers = {"Content-Type": "application/json"}
    if key:
        headers["Authorization"] = f"Bearer {key}"
    try:
        plain = socket.create_connection(where, timeout=BOUND_S)
        secure = request["ca"] is not None
        connection.sock = front_door.secured(plain, request) if secure else plain
        body = None if method == "GET" else BROKEN
        connection.request(method, path, body, headers)
        reply = connection.getresponse()
        return str(reply.status), reply.read(300).decode("utf-8", "replace")
    except (OSError, http.client.HTTPException) as error:
        return type(error).__name__, ""
    finally:
        connection.close()
