"""The stand-in's HTTP side: vLLM's routes, its API key rule, its streams."""

from __future__ import annotations

import hmac
import os
import socket
import ssl
import sys
import time
from collections.abc import Mapping
from http.server import ThreadingHTTPServer
from typing import Any

from . import protocol
from .engine import Engine, EngineDead, Job, Rejected
from .exchange import Exchange

GUARDED = ("/v1", "/v2", "/inference", "/cohere")
GET_ROUTES = ("/health", "/load", "/metrics", "/openapi.json", "/ping", "/v1/models", "/version")
POST_ROUTES = (
    "/detokenize",
    "/invocations",
    "/ping",
    "/tokenize",
    "/v1/chat/completions",
    "/v1/completions",
)
# What vLLM has besides and the stand-in only names, in its openapi.json.
NAMED_ROUTES = (
    *("/generative_scoring", "/scale_elastic_ep", "/is_scaling_elastic_ep", "/v1/responses"),
    *("/v1/chat/completions/batch", "/v1/messages", "/v1/messages/count_tokens"),
)
DEV_ROUTES = ("/is_sleeping", "/reset_prefix_cache", "/server_info", "/sleep", "/wake_up")
VERSION = "0.32.0"


class Server(ThreadingHTTPServer):
    """Bound early, as vLLM does, and listening only once the engine is up."""

    daemon_threads = True
    request_queue_size = 2048

    def __init__(
        self,
        arguments: Mapping[str, Any],
        engine: Engine,
        max_model_len: int,
        *,
        bind: bool = True,
    ) -> None:
        host = engine.faults().listen or arguments.get("host") or "0.0.0.0"
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        super().__init__((host, arguments["port"]), Handler, bind_and_activate=False)
        if bind:
            self.server_bind()
        self.engine = engine
        self.model = str(arguments["model"])
        self.names: list[str] = arguments.get("served-model-name") or [self.model]
        self.max_model_len = max_model_len
        key = os.environ.get("VLLM_API_KEY")
        self.keys: list[str] = arguments.get("api-key") or ([key] if key else [])
        self.dev_mode = os.environ.get("VLLM_SERVER_DEV_MODE") == "1"
        self.access_log = not arguments.get("disable-uvicorn-access-log")
        self.docs = not arguments.get("disable-fastapi-docs")

    def listen(self, certificate: str | None, key: str | None) -> None:
        """Start accepting; with TLS where the arguments name a certificate."""
        if certificate:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate, key)
            self.socket = context.wrap_socket(self.socket, server_side=True)
        self.server_activate()

    def served_names(self) -> list[str]:
        """The names requests may ask for now."""
        wrong = self.engine.faults().served_name
        return [wrong] if wrong else self.names

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that went away is no error."""
        if not isinstance(sys.exception(), ConnectionError | TimeoutError):
            super().handle_error(request, client_address)  # type: ignore[arg-type]


class Handler(Exchange):
    """vLLM's routes."""

    server: Server

    def do_GET(self) -> None:
        self._route("GET", GET_ROUTES, POST_ROUTES)

    def do_POST(self) -> None:
        self._route("POST", POST_ROUTES, GET_ROUTES)

    def _route(self, method: str, own: tuple[str, ...], other: tuple[str, ...]) -> None:
        self.access_log = self.server.access_log
        length = int(self.headers.get("Content-Length") or 0)
        raw = self.rfile.read(length)
        path = self.path.partition("?")[0]
        if path.startswith(GUARDED) and not self._authorised():
            self._json(401, {"error": "Unauthorized"})
        elif path in own and (self.server.docs or path != "/openapi.json"):
            name = path.strip("/").replace("/", "_").replace(".", "_").replace("v1_", "")
            getattr(self, f"_{method.lower()}_{name}")(raw)
        elif path in DEV_ROUTES and self.server.dev_mode:
            self._json(200, {"is_sleeping": False} if path == "/is_sleeping" else {})
        elif path in other:
            self._json(405, {"detail": "Method Not Allowed"})
        else:
            self._json(404, {"detail": "Not Found"})

    def _authorised(self) -> bool:
        keys = self.server.keys
        if not keys or self.server.engine.faults().no_auth:
            return True
        scheme, _, given = self.headers.get("Authorization", "").partition(" ")
        bearer = scheme.lower() == "bearer"
        return bearer and any(hmac.compare_digest(given.encode(), key.encode()) for key in keys)

    def _get_health(self, _: bytes) -> None:
        dead = self.server.engine.dead or self.server.engine.faults().engine_dead
        self._body(503 if dead else 200, b"", None)

    _get_ping = _post_ping = _get_health

    def _get_version(self, _: bytes) -> None:
        self._json(200, {"version": self.server.engine.faults().version or VERSION})

    def _get_load(self, _: bytes) -> None:
        self._json(200, {"server_load": 0})

    def _get_metrics(self, _: bytes) -> None:
        status = self.server.engine.faults().metrics_status
        text = self.server.engine.render() if status == 200 else "Internal Server Error"
        self._body(status, text.encode(), "text/plain; version=1.0.0; charset=utf-8")

    def _get_openapi_json(self, _: bytes) -> None:
        paths: dict[str, dict[str, object]] = {}
        for method, routes in (("get", GET_ROUTES), ("post", (*POST_ROUTES, *NAMED_ROUTES))):
            for route in routes:
                paths.setdefault(route, {})[method] = {"responses": {"200": {}}}
        info = {"title": "FastAPI", "version": "0.1.0"}
        self._json(200, {"openapi": "3.1.0", "info": info, "paths": paths})

    def _get_models(self, _: bytes) -> None:
        faults = self.server.engine.faults()
        length = faults.max_model_len or self.server.max_model_len
        card = {
            "object": "model",
            "created": int(time.time()),
            "owned_by": "vllm",
            "root": faults.model_root or self.server.model,
            "parent": None,
            "max_model_len": length,
        }
        cards = [{"id": name, **card} for name in self.server.served_names()]
        self._json(200, {"object": "list", "data": cards})

    def _post_tokenize(self, raw: bytes) -> None:
        if (body := self._read(raw)) is None:
            return
        chat = "messages" in body
        text = protocol.chat_text(body["messages"]) if chat else str(body.get("prompt", ""))
        tokens = protocol.tokens_of(text)
        length = self.server.max_model_len
        answer = {"count": len(tokens), "max_model_len": length, "tokens": tokens}
        self._json(200, {**answer, "token_strs": None})

    def _post_detokenize(self, raw: bytes) -> None:
        if (body := self._read(raw)) is None:
            return
        values = [int(token) - protocol.FIRST_BYTE_TOKEN for token in body.get("tokens", [])]
        text = bytes(value for value in values if 0 <= value < 256).decode(errors="replace")
        self._json(200, {"prompt": text})

    def _post_completions(self, raw: bytes) -> None:
        self._complete(raw, chat=False)

    def _post_chat_completions(self, raw: bytes) -> None:
        self._complete(raw, chat=True)

    def _post_invocations(self, raw: bytes) -> None:
        self._complete(raw, chat=b'"messages"' in raw)

    def _complete(self, raw: bytes, chat: bool) -> None:
        if (body := self._read(raw)) is None:
            return
        names = self.server.served_names()
        try:
            faults = self.server.engine.faults()
            if faults.error_500 or (chat and faults.chat_500):
                raise EngineDead
            ask = protocol.understand(body, chat, names, self.server.max_model_len)
            (self._stream if ask.stream else self._whole)(ask)
        except protocol.BadRequest as refusal:
            self._json(refusal.status, refusal.body)
        except Rejected:
            self._fail("cannot schedule new futures after shutdown")
        except EngineDead:
            self._fail(
                "EngineCore encountered an issue. See stack trace (above) for the root cause."
            )

    def _fail(self, message: str) -> None:
        self._json(500, protocol.error_body(message, "InternalServerError", None, 500))

    def _jobs(self, ask: protocol.Ask) -> list[Job]:
        more = (ask.max_tokens, ask.ignore_eos, ask.min_tokens, self._gone)
        return [
            Job(size, *more, start) for size, start in zip(ask.prompts, ask.starts, strict=True)
        ]

    def _whole(self, ask: protocol.Ask) -> None:
        answer = protocol.Answer(ask, ask.model)
        jobs = self._jobs(ask)
        texts = ["".join(self.server.engine.answer(job)) for job in jobs]
        reasons = [job.finish_reason for job in jobs]
        self._json(200, answer.whole(texts, reasons, self._counted(jobs)))

    def _counted(self, jobs: list[Job]) -> int:
        """Tokens of the answers; by chunks, each token but the last was sent on its own."""
        by_chunks = self.server.engine.faults().usage_by_chunks
        return sum(job.chunks if by_chunks else job.tokens for job in jobs)

    def _stream(self, ask: protocol.Ask) -> None:
        answer = protocol.Answer(ask, ask.model)
        jobs = self._jobs(ask)
        started = False
        for index, job in enumerate(jobs):
            held = None  # the last text goes out together with the finish reason
            for text in self.server.engine.answer(job):
                if not started:
                    started = True
                    self._head(200, "text/event-stream; charset=utf-8", None)
                    self._send(answer.opening())
                if held is not None:
                    self._send(answer.chunk(index, held, None))
                held = text
            if not started:
                started = True
                self._head(200, "text/event-stream; charset=utf-8", None)
            self._send(answer.chunk(index, held or "", job.finish_reason))
        if not self.server.engine.faults().stream_cut:
            self._send(answer.closing(self._counted(jobs)))
        self.wfile.write(b"0\r\n\r\n")
