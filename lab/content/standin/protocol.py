"""The bodies of vLLM's OpenAI-style API: requests checked as vLLM does, answers in its shape."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .sentences import start_of

FINGERPRINT = "vllm-0.32.0-standin"
FIRST_BYTE_TOKEN = 3  # after <|bos|>, <|eos|> and <|pad|>


class BadRequest(Exception):
    """Refused with an error body: status, type, message, parameter."""

    def __init__(
        self, message: str, param: str | None, status: int = 400, kind: str = "BadRequestError"
    ) -> None:
        super().__init__(message)
        self.status = status
        self.body = error_body(message, kind, param, status)


def error_body(message: str, kind: str, param: str | None, code: int) -> dict[str, Any]:
    """vLLM's error object."""
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}


@dataclass(frozen=True)
class Ask:
    """What a completion or chat request wants."""

    chat: bool
    prompts: list[int]  # tokens of each prompt
    starts: list[int]  # the sentence that each one asks for
    max_tokens: int
    min_tokens: int
    ignore_eos: bool
    stream: bool
    include_usage: bool
    model: str


def tokens_of(text: str) -> list[int]:
    """Byte-level tokens, one a byte."""
    return [byte + FIRST_BYTE_TOKEN for byte in text.encode()]


def chat_text(messages: object) -> str:
    """The tiny model's chat template; content may be text or a list of text parts."""
    if not isinstance(messages, list) or not messages:
        raise BadRequest("1 validation error:\n  {'loc': 'body.messages'}", "body.messages")
    lines = []
    for message in messages:
        content = message.get("content") if isinstance(message, dict) else None
        if isinstance(content, list):
            content = "".join(str(part.get("text", "")) for part in content)
        if not isinstance(content, str):
            raise BadRequest("1 validation error:\n  {'loc': 'body.messages'}", "body.messages")
        lines.append(f"{message.get('role', 'user')}: {content}\n")
    return "".join(lines) + "assistant: "


def prompts_of(prompt: object) -> list[tuple[int, int]]:
    """Tokens and sentence of each prompt: a text, a list of texts, token ids, a list of those."""
    if isinstance(prompt, str) and prompt:
        return [(len(tokens_of(prompt)), start_of(prompt.encode()))]
    if isinstance(prompt, list) and prompt:
        if all(isinstance(item, int) for item in prompt):
            last = prompt[-1] - FIRST_BYTE_TOKEN
            return [(len(prompt), start_of(bytes([last])) if 0 <= last < 256 else 0)]
        return [each for item in prompt for each in prompts_of(item)]
    message = "Either prompt or prompt_embeds must be provided and non-empty. (parameter=prompt)"
    raise BadRequest(message, "prompt")


def integer(body: Mapping[str, Any], name: str, default: int) -> int:
    """An integer field of the request."""
    value = body.get(name)
    if value is None:
        return default
    if isinstance(value, bool) or not isinstance(value, int):
        message = (
            f"1 validation error:\n  {{'type': 'int_parsing', 'loc': 'body.{name}', 'msg': 'Input "
            "should be a valid integer, unable to parse string as an integer', "
            f"'input': {value!r}}}"
        )
        raise BadRequest(message, f"body.{name}", kind="Bad Request")
    return value


def understand(body: Mapping[str, Any], chat: bool, names: list[str], max_model_len: int) -> Ask:
    """The request, or BadRequest as vLLM answers it."""
    model = body.get("model") or names[0]
    if model not in names:
        message = f"The model `{model}` does not exist. Valid aliases: {', '.join(names)}."
        raise BadRequest(message, "model", 404, "NotFoundError")
    asked = prompts_of(chat_text(body.get("messages")) if chat else body.get("prompt"))
    prompts = [size for size, _ in asked]
    wanted = integer(body, "max_tokens", max_model_len - max(prompts) if chat else 16)
    wanted = integer(body, "max_completion_tokens", wanted)
    check_length(max(prompts), wanted, max_model_len)
    options = body.get("stream_options") or {}
    return Ask(
        chat=chat,
        prompts=prompts,
        starts=[start for _, start in asked],
        max_tokens=wanted,
        min_tokens=integer(body, "min_tokens", 0),
        ignore_eos=bool(body.get("ignore_eos")),
        stream=bool(body.get("stream")),
        include_usage=bool(options.get("include_usage")),
        model=str(model),
    )


def check_length(prompt: int, wanted: int, limit: int) -> None:
    """Refuse what does not fit the context."""
    if wanted < 1:
        raise BadRequest(f"max_tokens must be at least 1, got {wanted}.", "max_tokens")
    if wanted > limit:
        raise BadRequest(
            f"max_tokens={wanted} cannot be greater than max_model_len={limit}. Please request "
            f"fewer output tokens. (parameter=max_tokens, value={wanted})",
            "max_tokens",
        )
    if prompt + wanted > limit:
        raise BadRequest(
            f"This model's maximum context length is {limit} tokens. However, you requested "
            f"{wanted} output tokens and your prompt contains {prompt} input tokens, for a total "
            f"of {prompt + wanted} tokens. Please reduce the length of the input prompt or the "
            f"number of requested output tokens. (parameter=input_tokens, value={prompt})",
            "input_tokens",
        )


def usage(prompt: int, completion: int) -> dict[str, Any]:
    """Token counts as vLLM reports them."""
    return {
        "prompt_tokens": prompt,
        "total_tokens": prompt + completion,
        "completion_tokens": completion,
    }


class Answer:
    """Makes the JSON of one request's answer, whole or in chunks."""

    def __init__(self, ask: Ask, name: str) -> None:
        self.ask = ask
        kind = "chat.completion" if ask.chat else "text_completion"
        prefix = "chatcmpl" if ask.chat else "cmpl"
        self._head = {
            "id": f"{prefix}-{uuid.uuid4().hex[:16]}",
            "object": kind,
            "created": int(time.time()),
            "model": name,
        }

    def whole(self, texts: list[str], reasons: list[str], tokens: int) -> dict[str, Any]:
        """The body of an answer that is not streamed."""
        choices = [
            self._choice(index, text, reason)
            for index, (text, reason) in enumerate(zip(texts, reasons, strict=True))
        ]
        used = usage(sum(self.ask.prompts), tokens)
        more = {"prompt_tokens_details": None, "completion_tokens_details": None}
        return {
            **self._head,
            "choices": choices,
            "service_tier": None,
            "system_fingerprint": FINGERPRINT,
            "usage": used | more,
            "kv_transfer_params": None,
        }

    def _choice(self, index: int, text: str, reason: str) -> dict[str, Any]:
        tail = {"logprobs": None, "finish_reason": reason, "stop_reason": None, "token_ids": None}
        if self.ask.chat:
            message = {"role": "assistant", "content": text, "refusal": None, "reasoning": None}
            return {"index": index, "message": message, **tail}
        return {"index": index, "text": text, **tail}

    def chunk(self, index: int, text: str, reason: str | None) -> bytes:
        """One server-sent event with new text."""
        where: dict[str, Any] = {"delta": {"content": text}} if self.ask.chat else {"text": text}
        choice = {"index": index, **where, "logprobs": None, "finish_reason": reason}
        return self._event({"choices": [choice]})

    def opening(self) -> bytes:
        """The first chunk of a chat; nothing for a completion."""
        if not self.ask.chat:
            return b""
        delta = {"role": "assistant", "content": ""}
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": None}
        return self._event({"choices": [choice]})

    def closing(self, tokens: int) -> bytes:
        """Usage, where asked for, and the end mark."""
        done = b"data: [DONE]\n\n"
        if not self.ask.include_usage:
            return done
        used = usage(sum(self.ask.prompts), tokens)
        return self._event({"choices": [], "usage": used}) + done

    def _event(self, body: dict[str, Any]) -> bytes:
        kind = "chat.completion.chunk" if self.ask.chat else "text_completion"
        return b"data: " + compact({**self._head, "object": kind, **body}) + b"\n\n"


def compact(body: object) -> bytes:
    """JSON without blanks, as FastAPI writes it."""
    return json.dumps(body, separators=(",", ":"), ensure_ascii=False).encode()
