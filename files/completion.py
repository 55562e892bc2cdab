"""The gate: one real completion under the right served name.

Stands alone (no other host program is imported), so it also runs as ``python3 -`` over SSH.
"""

from __future__ import annotations

import http.client
import json
import sys
import time
from dataclasses import asdict, dataclass
from typing import Literal

SERVING = "/run/vllm-fleet/serving.json"
RELEASE = "/etc/vllm-fleet/current/release.json"

Fault = Literal["", "refused", "not_yet", "http", "unauthorized", "wrong_name", "empty", "timeout"]


@dataclass(frozen=True)
class Target:
    """Where and under which name a server should answer; ``timeout_s`` bounds the whole check."""

    address: str
    port: int
    served_name: str
    timeout_s: float = 60.0
    prompt: str = "The capital of France is"
    max_tokens: int = 16


@dataclass(frozen=True)
class Result:
    """What the server answered. ``ok`` means: a completion under the right name.

    ``fault`` tells failures apart, ``detail`` is one line for a person. ``seconds`` is the
    completion alone; ``tokens_per_s`` counts by the server's own usage figures.
    """

    ok: bool
    fault: Fault
    detail: str
    served_name: str
    text: str = ""
    completion_tokens: int = 0
    seconds: float = 0.0
    tokens_per_s: float = 0.0


class Failed(Exception):
    """No completion: ``fault`` says which kind, the text is one line for a person."""

    def __init__(self, fault: Fault, detail: str) -> None:
        super().__init__(detail)
        self.fault: Fault = fault


def complete(target: Target) -> Result:
    """Ask for the served names, then for a completion. Never raises for what a server does."""
    deadline = time.monotonic() + target.timeout_s
    try:
        _check_name(target, deadline)
        return _completion(target, deadline)
    except Failed as failed:
        return Result(False, failed.fault, str(failed), target.served_name)


def _check_name(target: Target, deadline: float) -> None:
    reply = ask(target, "GET", "/v1/models", None, deadline)
    models = reply.get("data")
    names = (
        [str(model.get("id")) for model in models if isinstance(model, dict)]
        if isinstance(models, list)
        else []
    )
    if target.served_name not in names:
        raise Failed(
            "wrong_name", f"serves {', '.join(names) or 'no name'}, wanted {target.served_name}"
        )


def _completion(target: Target, deadline: float) -> Result:
    # ignore_eos (vLLM's own field): a model whose first token is its end still has to generate
    body = {
        "model": target.served_name,
        "prompt": target.prompt,
        "temperature": 0,
        "max_tokens": target.max_tokens,
        "ignore_eos": True,
    }
    begun = time.monotonic()
    reply = ask(target, "POST", "/v1/completions", body, deadline)
    seconds = time.monotonic() - begun
    text, tokens = _generated(reply)
    if not text or tokens < 1:
        raise Failed("empty", f"the completion has {tokens} tokens and {len(text)} characters")
    return Result(
        True,
        "",
        "",
        target.served_name,
        text,
        tokens,
        round(seconds, 3),
        round(tokens / max(seconds, 1e-6), 1),
    )


def _generated(reply: dict[str, object]) -> tuple[str, int]:
    choices, usage = reply.get("choices"), reply.get("usage")
    first = choices[0] if isinstance(choices, list) and choices else {}
    text = first.get("text") if isinstance(first, dict) else ""
    tokens = usage.get("completion_tokens") if isinstance(usage, dict) else 0
    return (text if isinstance(text, str) else ""), (tokens if isinstance(tokens, int) else 0)


def ask(target: Target, method: str, path: str, body: object, deadline: float) -> dict[str, object]:
    """The JSON object that the server answers until ``deadline`` (monotonic); raises Failed."""
    connection = http.client.HTTPConnection(target.address, target.port, timeout=_left(deadline))
    headers = {"Content-Type": "application/json"}
    try:
        connection.request(method, path, None if body is None else json.dumps(body), headers)
        if connection.sock is not None:
            connection.sock.settimeout(_left(deadline))
        reply = connection.getresponse()
        return _parsed(path, reply.status, reply.read())
    except TimeoutError:
        raise Failed("timeout", f"{path}: no answer in {target.timeout_s:.0f} s") from None
    except ConnectionRefusedError:
        raise Failed("refused", f"nothing listens on {target.address}:{target.port}") from None
    except (OSError, http.client.HTTPException) as error:
        what = str(error) or type(error).__name__
        raise Failed("not_yet", f"{path}: the connection broke: {what}") from None
    finally:
        connection.close()


def _left(deadline: float) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left


def _parsed(path: str, status: int, body: bytes) -> dict[str, object]:
    said = " ".join(body.decode("utf-8", "replace").split())[:200]
    if status in (401, 403):
        raise Failed("unauthorized", f"{path}: HTTP {status}; wanted: no key on loopback")
    if status == 503:
        raise Failed("not_yet", f"{path}: HTTP 503: {said}")
    if status != 200:
        raise Failed("http", f"{path}: HTTP {status}: {said}")
    try:
        reply = json.loads(body)
    except ValueError:
        reply = None
    if not isinstance(reply, dict):
        raise Failed("http", f"{path}: HTTP 200 without a JSON object: {said}")
    return reply


def recorded(path: str = SERVING) -> Result | None:
    """The completion that vllm.service had before it said that it serves; None if it does not."""
    try:
        with open(path, encoding="utf-8") as file:
            return Result(**json.load(file)["gate"])
    except (FileNotFoundError, KeyError, TypeError, ValueError):
        return None


def target_from(request: dict[str, object]) -> Target:
    """The target ``request`` names; what it leaves out is taken from the current release."""
    known = dict(request)
    if not {"listen", "port", "served_name"} <= set(known):
        with open(str(request.get("release_json", RELEASE)), encoding="utf-8") as file:
            known = {**json.load(file), **request}
    return Target(
        str(known["listen"]),
        int(str(known["port"])),
        str(known["served_name"]),
        float(str(known.get("timeout_s", 60))),
        str(known.get("prompt", Target.prompt)),
        int(str(known.get("max_tokens", Target.max_tokens))),
    )


def main(request: dict[str, object]) -> None:
    """Print the Result as one JSON line. Keys of ``request``: listen, port, served_name,
    timeout_s, prompt, max_tokens, release_json; all optional. ``recorded``: for a rank without an
    API, the completion that its head had."""
    try:
        told = recorded() if request.get("recorded") else None
        result = told or complete(target_from(request))
    except (OSError, KeyError, ValueError) as error:
        detail = f"no release to check: {type(error).__name__}: {error}"
        result = Result(False, "refused", detail, str(request.get("served_name", "")))
    print(json.dumps(asdict(result), sort_keys=True), flush=True)


if __name__ == "__main__":
    if sys.argv[0] != "-":  # as `python3 -` the caller appends its own main(request)
        main(json.loads(sys.argv[1]) if len(sys.argv) > 1 else {})
