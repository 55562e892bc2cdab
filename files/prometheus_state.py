"""Asks this host's Prometheus what it reads. Stands alone, changes nothing.

Request: {"address", "port"}. Prints {"problem": why it is of no use or "", "targets": [{host, job,
health, error}]}.
"""

from __future__ import annotations

import http.client
import json
from typing import Any

BOUND_S = 10.0
LOOPBACK = {"0.0.0.0": "127.0.0.1", "::": "::1"}


def ask(address: str, port: int, path: str) -> dict[str, Any]:
    """The data of one answer; OSError or ValueError where there is none."""
    connection = http.client.HTTPConnection(LOOPBACK.get(address, address), port, timeout=BOUND_S)
    try:
        connection.request("GET", path)
        reply = connection.getresponse()
        body = reply.read()
        if reply.status != 200:
            raise ValueError(f"{path}: HTTP {reply.status}")
        data: dict[str, Any] = json.loads(body)["data"]
        return data
    except http.client.HTTPException as error:
        raise ValueError(f"{path}: {type(error).__name__}") from error
    finally:
        connection.close()


def main(request: dict[str, Any]) -> None:
    where = str(request["address"]), int(request["port"])
    found: dict[str, Any] = {"problem": "", "targets": []}
    try:
        if not ask(*where, "/api/v1/status/runtimeinfo")["reloadConfigSuccess"]:
            found["problem"] = "Prometheus did not take its configuration"
        for one in ask(*where, "/api/v1/targets?state=active")["activeTargets"]:
            row = {name: one["labels"].get(name, "") for name in ("host", "job")}
            found["targets"].append({**row, "health": one["health"], "error": one["lastError"]})
    except (OSError, ValueError, KeyError, TypeError) as error:
        found["problem"] = f"Prometheus gives no answer ({error})"
    print(json.dumps(found), flush=True)
