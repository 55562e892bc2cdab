"""Asks every route that vLLM has through the proxy: without a key, a wrong one, the right.

The routes are those of the server's own openapi.json and known ones that it does not list. Runs on
the host, as clients do from outside; keys travel on stdin. Nothing is steered by the asking: bodies
cannot be parsed, and what needs no body is asked by GET.
"""

from __future__ import annotations

import http.client
import json
import socket
from collections import Counter
from dataclasses import dataclass
from typing import Any

import front_door

STEERING = (  # some need no body: asked by GET only
    *("/sleep", "/wake_up", "/pause", "/resume", "/abort_requests", "/collective_rpc"),
    *("/reset_prefix_cache", "/reset_mm_cache", "/reset_encoder_cache", "/scale_elastic_ep"),
    *("/start_profile", "/stop_profile", "/init_weight_transfer_engine", "/update_weights"),
)
UNLISTED = (
    *STEERING,
    *("/invocations", "/metrics", "/docs", "/redoc", "/openapi.json", "/version", "/load", "/ping"),
    *("/server_info", "/is_sleeping", "/is_paused", "/tokenize", "/detokenize", "/v1/realtime"),
    *("/pooling", "/classify", "/score", "/rerank", "/generative_scoring"),
    *("/v1/load_lora_adapter", "/v1/unload_lora_adapter", "/inference/v1/generate"),
    *("//v1/models", "/v1/../metrics", "/V1/models", "/v1/models/", "/%76%31/models"),
)
OPEN_TO_ALL = {"/health"}
REFUSED = {"401", "403"}  # whoever says so
OWN = {"404", "405"}  # of the proxy; of vLLM they are answers from behind the door
NOT_JUDGED = {"429"}  # the proxy had enough of us
WRONG_KEYS = 20  # a proxy that counts wrong keys must not shut us out
BROKEN = b"{"  # no handler gets past it
BOUND_S = 10.0
SHOWN = 3


@dataclass(frozen=True)
class Answer:
    """``status`` is a number as text, or why there was none; ``behind``: the server gave it."""

    status: str
    behind: bool = False

    @property
    def lets_in(self) -> bool:
        """Whether it comes from behind a door that should be closed."""
        if not self.status.isdigit() or self.status in REFUSED | NOT_JUDGED:
            return False
        return self.behind or self.status not in OWN

    @property
    def says_nothing(self) -> bool:
        """Whether it leaves open what would have been answered."""
        return not self.status.isdigit() or self.status in NOT_JUDGED


class Unlisted(Exception):
    """The server does not tell its routes; the text says why."""


def main(request: dict[str, Any]) -> None:
    """Keys of ``request``: those of front_door.py, and ``direct``: vLLM's own port on loopback."""
    found: dict[str, Any] = {"problems": front_door.settled(request), "routes": 0, "gaps": []}
    if not found["problems"]:
        found |= probe(request)
    print(json.dumps(found, sort_keys=True), flush=True)


def probe(request: dict[str, Any]) -> dict[str, Any]:
    """``counts`` of answers by kind of key and status; ``open``: a line for each route that is open
    and should not be, which are ``problems`` where a key is asked for; ``gaps``: a line for what
    was to be asked and is not known.
    """
    gaps, routes = [], {("GET", path) for path in UNLISTED}
    try:
        routes |= listed(int(request["direct"]))
    except Unlisted as why:
        gaps.append(f"{why}; only {len(routes)} known routes were asked")
    counts: dict[str, Counter[str]] = {kind: Counter() for kind in ("without", "wrong", "right")}
    opened, silent = [], []
    for method, path in sorted(routes):
        for kind, answer in asked(request, method, path, sum(counts["wrong"].values())):
            counts[kind][answer.status] += 1
            line = f"{method} {path} {kind} key: {answer.status}"
            if kind != "right" and path not in OPEN_TO_ALL and answer.lets_in:
                opened.append(line)
            silent += [line] if answer.says_nothing else []
    if silent:
        gaps.append(f"{len(silent)} without an answer: {', '.join(silent[:SHOWN])}")
    problems = opened if request["accepted"] else []
    found = {kind: dict(count) for kind, count in counts.items()}
    return {"routes": len(routes), "counts": found, "open": opened, "problems": problems,
            "gaps": gaps}  # fmt: skip


def asked(request: dict[str, Any], method: str, path: str, wrong: int) -> list[tuple[str, Answer]]:
    """A route's answers by kind of key. A wrong key, of which ``wrong`` were used, is kept for
    routes that ask for one."""
    found = [("without", ask(request, method, path, ""))]
    if request["accepted"]:
        if found[0][1].status in REFUSED and wrong < WRONG_KEYS:
            found.append(("wrong", ask(request, method, path, front_door.NO_KEY)))
        found.append(("right", ask(request, method, path, request["accepted"][0])))
    return found


def listed(port: int) -> set[tuple[str, str]]:
    """Method and path of the routes in the openapi.json of the server on loopback; Unlisted."""
    place = f"127.0.0.1:{port}/openapi.json"
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=BOUND_S)
    try:
        connection.request("GET", "/openapi.json")
        reply = connection.getresponse()
        body = reply.read()
        if reply.status != 200:
            raise Unlisted(f"{place}: HTTP {reply.status}")
        paths = json.loads(body)["paths"]
        routes = {
            (method.upper(), str(path).replace("{", "").replace("}", ""))
            for path, methods in paths.items()
            for method in methods
            if method in ("get", "post", "put", "delete") and path not in STEERING
        }
    except (OSError, http.client.HTTPException) as error:
        raise Unlisted(f"{place}: {str(error) or type(error).__name__}") from None
    except (ValueError, KeyError, TypeError, AttributeError):
        raise Unlisted(f"{place}: lists no routes") from None
    finally:
        connection.close()
    if not routes:
        raise Unlisted(f"{place}: lists no routes")
    return routes


def ask(request: dict[str, Any], method: str, path: str, key: str) -> Answer:
    """One route's answer. vLLM's own carry a date, and HAProxy's own do not."""
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
        return Answer(str(reply.status), behind=reply.getheader("date") is not None)
    except (OSError, http.client.HTTPException) as error:
        return Answer(type(error).__name__)
    finally:
        connection.close()
