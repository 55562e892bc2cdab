"""Asks a server in the four forms that clients use: completion and chat, whole and streamed."""

from __future__ import annotations

import http.client
import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import completion
from completion import Target
from proofs import Proof, Verdict

TOKENS = 16
QUESTION = "The capital of France is"
PATHS = {"completion": "/v1/completions", "chat": "/v1/chat/completions"}
NO_TEMPLATE = "chat template"


@dataclass
class Answer:
    """What came back: its text, the tokens that its usage counts, the pieces it came in."""

    model: str = ""
    text: str = ""
    tokens: int = 0
    pieces: int = 0
    ended: bool = False


def ask_all(target: Target) -> list[Proof]:
    """A proof for each form, asked at once. Never raises for what a server does."""
    forms = [(kind, stream) for kind in PATHS for stream in (False, True)]
    with ThreadPoolExecutor(len(forms)) as pool:
        return list(pool.map(lambda form: _proof(target, *form), forms))


def _proof(target: Target, kind: str, stream: bool) -> Proof:
    name = f"answer: {kind}{', streamed' if stream else ''}"
    claimed = f"text under {target.served_name}, {TOKENS} tokens by its usage"
    try:
        answer = _ask(target, kind, stream)
    except completion.Failed as failed:
        known = kind == "chat" and NO_TEMPLATE in str(failed)  # a model that cannot chat
        return Proof(name, claimed, "unknown" if known else "refuted", "", str(failed))
    found = f"{answer.tokens} tokens in {answer.pieces} pieces under {answer.model or 'no name'}"
    return Proof(name, claimed, _verdict(target, answer), found, _line(kind, answer))


def _verdict(target: Target, answer: Answer) -> Verdict:
    """``ignore_eos`` makes the number of tokens known beforehand; pieces may be fewer."""
    good = answer.text.strip() and answer.ended and answer.tokens == TOKENS
    return "shown" if good and answer.model == target.served_name else "refuted"


def _line(kind: str, answer: Answer) -> str:
    cut = "" if answer.ended else "; it did not end as it should"
    return f"{PATHS[kind]}: {' '.join(answer.text.split())[:80]!r}{cut}"


def _ask(target: Target, kind: str, stream: bool) -> Answer:
    body: dict[str, Any] = {
        **{"model": target.served_name, "temperature": 0, "ignore_eos": True},
        "max_tokens": TOKENS,
    }
    if kind == "chat":
        body["messages"] = [{"role": "user", "content": QUESTION}]
    else:
        body["prompt"] = QUESTION
    deadline = time.monotonic() + target.timeout_s
    if not stream:
        reply = completion.ask(target, "POST", PATHS[kind], body, deadline)
        return _joined([reply], ended=True)
    more = {"stream": True, "stream_options": {"include_usage": True}}
    events = list(_events(target, PATHS[kind], {**body, **more}))
    return _joined([e for e in events if e], ended=bool(events) and events[-1] is None)


def _joined(parts: list[dict[str, Any]], *, ended: bool) -> Answer:
    """One answer from its parts; usage comes with the last one."""
    answer = Answer(ended=ended)
    for part in parts:
        answer.model = str(part.get("model", ""))
        text = _text(part)
        answer.text += text
        answer.pieces += bool(text)
        usage = part.get("usage")
        if isinstance(usage, dict) and isinstance(usage.get("completion_tokens"), int):
            answer.tokens = usage["completion_tokens"]
    return answer


def _text(part: dict[str, Any]) -> str:
    choices = part.get("choices")
    first = choices[0] if isinstance(choices, list) and choices else {}
    message = first.get("message") or first.get("delta") or {}
    spoken = [message.get("content"), message.get("reasoning"), first.get("text")]
    return "".join(text for text in spoken if isinstance(text, str))


def _events(target: Target, path: str, body: dict[str, Any]) -> Iterator[dict[str, Any] | None]:
    """The events of a stream; None is its end mark. Raises Failed."""
    connection = http.client.HTTPConnection(target.address, target.port, timeout=target.timeout_s)
    headers = {"Content-Type": "application/json"}
    try:
        connection.request("POST", path, json.dumps(body), headers)
        reply = connection.getresponse()
        if reply.status != 200:
            said = " ".join(reply.read().decode("utf-8", "replace").split())[:200]
            raise completion.Failed("http", f"{path}: HTTP {reply.status}: {said}")
        for line in reply:
            if line.startswith(b"data: "):
                yield None if line[6:].strip() == b"[DONE]" else json.loads(line[6:])
    except (OSError, http.client.HTTPException, ValueError) as error:
        what = str(error) or type(error).__name__
        raise completion.Failed("http", f"{path}: the stream broke: {what}") from None
    finally:
        connection.close()
