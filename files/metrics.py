"""What vLLM's /metrics says about load and progress."""

from __future__ import annotations

import http.client
import math
import re
from dataclasses import dataclass

_LINE = re.compile(r"^(vllm:\w+)(?:\{.*\})? (\S+)")
_LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')

# Any of these moving means the engine works: tokens, finished requests, engine steps, and KV
# use, which alone moves during a long chunked prefill.
PROGRESS = (
    "vllm:prompt_tokens_total",
    "vllm:generation_tokens_total",
    "vllm:request_success_total",
    "vllm:num_preemptions_total",
    "vllm:iteration_tokens_total_count",
    "vllm:kv_cache_usage_perc",
)


@dataclass(frozen=True)
class Metrics:
    """Requests now, and the values of ``PROGRESS`` (sums over engines; absent ones left out)."""

    running: int
    waiting: int
    progress: tuple[tuple[str, float], ...]


def parse(text: str) -> Metrics | None:
    """The figures in a Prometheus text; None if it has no vLLM request gauges."""
    sums: dict[str, float] = {}
    for line in text.splitlines():
        match = _LINE.match(line)
        # a client that gives up ends its request without the engine
        if match and 'finished_reason="abort"' not in line:
            value = _number(match[2])
            sums[match[1]] = sums.get(match[1], 0.0) + value
    if "vllm:num_requests_running" not in sums:
        return None
    return Metrics(
        int(sums["vllm:num_requests_running"]),
        int(sums.get("vllm:num_requests_waiting", 0)),
        tuple((name, sums[name]) for name in PROGRESS if name in sums),
    )


def _number(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        return 0.0
    return value if math.isfinite(value) else 0.0


def labels(text: str, name: str) -> list[dict[str, str]]:
    """The label sets of one metric, one an engine; [] if the text does not have it."""
    lines = re.findall(rf"^{re.escape(name)}\{{(.*)\}} ", text, re.MULTILINE)
    return [dict(_LABEL.findall(line)) for line in lines]


def total(text: str, name: str) -> float | None:
    """One metric, summed over its label sets; None if the text does not have it."""
    found = re.findall(rf"^{re.escape(name)}(?:\{{.*\}})? (\S+)", text, re.MULTILINE)
    return sum(map(_number, found)) if found else None


def fetch(address: str, port: int, *, timeout: float = 5.0) -> Metrics | None:
    """The server's figures; None if it gives none within ``timeout`` seconds a step."""
    text = read(address, port, timeout=timeout)
    return None if text is None else parse(text)


def read(address: str, port: int, *, timeout: float = 5.0) -> str | None:
    """The server's whole /metrics; None if it gives none within ``timeout`` seconds a step."""
    connection = http.client.HTTPConnection(address, port, timeout=timeout)
    try:
        connection.request("GET", "/metrics")
        reply = connection.getresponse()
        body = reply.read()
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()
    return body.decode("utf-8", "replace") if reply.status == 200 else None
