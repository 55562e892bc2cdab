"""A stand-in for `vllm serve`: vLLM 0.32's command line, API, metrics, log, life cycle; no model.

usage: server.py [serve] [MODEL] [--config FILE.yaml] [vLLM flags]; fault knobs: see faults.py
"""

from __future__ import annotations

import json
import os
import re
import signal
import sys
import threading
import time
from pathlib import Path
from types import FrameType
from typing import Any

from . import arguments, checkpoint, said
from .engine import Engine
from .exchange import log as uvicorn_log
from .faults import FaultError, Faults, Knobs
from .http_api import VERSION, Server
from .ranks import Ranks

POLL_S = 0.05
DEAD_S = 2.0  # from a dead engine to the end of the process
KNOWN = Path(__file__).with_name("environment.json")


def log(text: str, level: str = "INFO", who: str = "APIServer") -> None:
    """One line in vLLM's form."""
    stamp = time.strftime("%m-%d %H:%M:%S")
    print(f"({who} pid={os.getpid()}) {level} {stamp} [standin.py:1] {text}", file=sys.stderr)
    sys.stderr.flush()


def fail(text: str) -> None:
    """End as vLLM does when it cannot start."""
    log("EngineCore failed to start.", "ERROR", "EngineCore")
    log(text, "ERROR", "EngineCore")
    print(
        "RuntimeError: Engine core initialization failed. See root cause above. "
        "Failed core proc(s): {'EngineCore': 1}",
        file=sys.stderr,
        flush=True,
    )
    os._exit(1)


def warn_unknown_environment(strict: bool) -> None:
    """One warning for each VLLM_* variable that vLLM does not know; exit 1 where told to."""
    known = set(json.loads(KNOWN.read_text()))
    for name in sorted(os.environ):
        if name.startswith("VLLM_") and name not in known:
            if strict:
                sys.exit(f"ValueError: Unknown vLLM environment variable detected: {name}")
            log(f"Unknown vLLM environment variable detected: {name}", "WARNING")


def tell_engine(found: dict[str, Any], config: dict[str, Any], length: int, faults: Faults) -> None:
    """The engine's line, and the lines of its kernels."""
    line = said.engine_line(found, config, length, faults.engine_config)
    start = f"Initializing a V1 LLM engine (v{VERSION}) with config"
    log(f"{start}: {line}", who="EngineCore")
    kernels = () if faults.silent_kernels else said.kernel_lines(found)
    for each in [*kernels, *faults.log_lines]:
        log(each, who="Worker")


def pause(seconds: float, faults: Faults) -> None:
    """Sleep; a crash knob set meanwhile counts."""
    time.sleep(seconds)
    if faults.crash_at_start:
        log("EngineCore failed to start.", "ERROR", "EngineCore")
        os._exit(faults.crash_at_start)


def load(found: dict[str, Any], knobs: Knobs) -> bytearray:
    """Load weights and compile, in vLLM's words; returns the memory to hold."""
    log(f"Starting to load model {found['model']}...", who="Worker")
    paths = checkpoint.shards(found["model"])
    begun = time.monotonic()
    for done in checkpoint.load(paths):
        share = knobs().start_s * 0.5 / len(paths)
        pause(share, knobs())
        percent = 100 * done // len(paths)
        line = (
            f"Loading safetensors checkpoint shards: {percent:3}% Completed | {done}/{len(paths)}"
        )
        print(line, file=sys.stderr, flush=True)
    log(f"Loading weights took {time.monotonic() - begun:.2f} seconds", who="Worker")
    held = bytearray(knobs().memory_mib << 20)
    held[::4096] = b"\1" * len(held[::4096])  # touched, so that it is really taken
    begun = time.monotonic()
    pause(knobs().start_s * 0.5, knobs())
    if not found.get("enforce-eager"):
        took = time.monotonic() - begun
        log(f"torch.compile took {took:.2f} s in total", who="Worker")
    return held


def stay_unready(knobs: Knobs) -> None:
    """Wait while told to; ends the process after VLLM_ENGINE_READY_TIMEOUT_S as vLLM does."""
    limit = float(os.environ.get("VLLM_ENGINE_READY_TIMEOUT_S", "600"))
    begun = told = time.monotonic()
    while knobs().never_ready:
        pause(POLL_S, knobs())
        if time.monotonic() - told > 60:
            told = time.monotonic()
            log("No available shared memory broadcast block found in 60 seconds.", who="EngineCore")
        if time.monotonic() - begun > limit:
            fail(f"TimeoutError: Timed out waiting for engine core processes to start ({limit} s).")


def announce(found: dict[str, Any], server: Server) -> None:
    """The lines people and programs wait for."""
    host = found.get("host") or "0.0.0.0"
    log(f"init engine (profile, create kv cache, warmup model) took {0.06:.2f} s", who="EngineCore")
    log(f"Starting vLLM server on http://{host}:{server.server_address[1]}")
    log("Available routes are:")
    for line in (f"Started server process [{os.getpid()}]", "Waiting for application startup."):
        uvicorn_log(f"INFO:     {line}")
    uvicorn_log("INFO:     Application startup complete.")


class Life:
    """From ready to the end: signals, crashes on request, drain."""

    def __init__(self, server: Server, knobs: Knobs, ranks: Ranks, shutdown_timeout: float) -> None:
        self._server = server
        self._ranks = ranks
        self._engine = server.engine
        self._knobs = knobs
        self._timeout = shutdown_timeout
        self._asked = False
        self._ready = time.monotonic()

    def on_signal(self, number: int, frame: FrameType | None) -> None:
        """Ask for the stop."""
        if not self._knobs().ignore_sigterm:
            self._asked = True

    def run(self) -> int:
        """Serve until told to stop or to fail; the exit status."""
        if self._ranks.headless:
            return self._ranks.follow(lambda: self._asked, self._broken)
        thread = threading.Thread(target=self._server.serve_forever, args=(POLL_S,), daemon=True)
        thread.start()
        while not self._asked:
            time.sleep(POLL_S)
            if (status := self._broken()) is not None:
                return status
        return self._stop()

    def _broken(self) -> int | None:
        faults = self._knobs()
        if faults.engine_dead and not self._engine.dead:
            self._engine.dead = True
            log("EngineCore died unexpectedly.", "ERROR")
            time.sleep(DEAD_S)
            return 1
        if self._ranks.lost() and not self._engine.stuck:
            self._engine.stuck = True
            log("No available shared memory broadcast block found in 60 seconds.", who="EngineCore")
        age = time.monotonic() - self._ready
        if faults.crash_after_s and age > faults.crash_after_s:
            log("Worker proc VllmWorker-0 died unexpectedly, shutting down executor.", "ERROR")
            return 1
        if faults.crash_after_requests and self._engine.answered >= faults.crash_after_requests:
            log("Worker proc VllmWorker-0 died unexpectedly, shutting down executor.", "ERROR")
            return 1
        return None

    def _stop(self) -> int:
        mode = "drain" if self._timeout else "abort"
        log("[shutdown] API server: shutdown triggered")
        log(f"[shutdown] API server: stopping engine client mode={mode} timeout={self._timeout}s")
        self._engine.stopping = mode
        end = time.monotonic() + self._timeout
        while self._engine.in_flight and time.monotonic() < end:
            time.sleep(POLL_S)
        self._engine.stopping = "abort"
        complete = "[shutdown] EngineCore: request processing complete; starting resource teardown"
        log(complete, who="EngineCore")
        time.sleep(self._knobs().teardown_s)
        log("[shutdown] API server: shutting down FastAPI HTTP server")
        for line in ("Shutting down", "Waiting for application shutdown."):
            uvicorn_log(f"INFO:     {line}")
        uvicorn_log("INFO:     Application shutdown complete.")
        return 0


def start(found: dict[str, Any], ranks: Ranks) -> tuple[Server, Knobs, bytearray]:
    """Everything up to listening, or the end of the process."""
    knobs = Knobs(found)
    warn_unknown_environment(bool(found.get("fail-on-environ-validation")))
    log(f"vLLM API server version {VERSION} (stand-in), model {found['model']}")
    shown = {key: "***" if key == "api-key" else value for key, value in found.items()}
    log(f"non-default args: {shown}")
    try:
        config = checkpoint.config(found["model"])
        length = checkpoint.max_model_len(found.get("max-model-len"), config)
    except checkpoint.LoadError as error:
        sys.exit(str(error))
    log(f"Resolved architecture: {(config.get('architectures') or ['?'])[0]}")
    log(f"Using max model len {length}")
    tell_engine(found, config, length, knobs())
    server = Server(found, Engine(found, knobs), length, bind=not ranks.headless)
    # vLLM swallows SIGTERM while its engine core starts.
    signal.signal(signal.SIGTERM, lambda number, frame: None)
    held = bytearray()
    try:
        pause(0, knobs())
        held = load(found, knobs)
    except checkpoint.LoadError as error:
        fail(str(error))
    ranks.meet(lambda seconds: pause(seconds, knobs()))
    stay_unready(knobs)
    return server, knobs, held


def main() -> int:
    """Returns the exit status."""
    if sys.argv[1:] in (["--version"], ["-v"]):
        print(f"{VERSION}+standin")
        return 0
    found = arguments.parse(sys.argv[1:])
    if not found.get("model"):
        found["model"] = "Qwen/Qwen3-0.6B"
    if not re.fullmatch(r"\S+", str(found["model"])):
        sys.exit(f"OSError: {found['model']!r} is not a model")
    ranks = Ranks(found)
    server, knobs, held = start(found, ranks)
    life = Life(server, knobs, ranks, float(found["shutdown-timeout"]))
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, life.on_signal)
    if not ranks.headless:
        server.listen(found.get("ssl-certfile"), found.get("ssl-keyfile"))
        announce(found, server)
    status = life.run()
    del held
    return status


if __name__ == "__main__":
    try:
        code = main()
    except (FaultError, OSError, ValueError) as problem:
        print(f"{type(problem).__name__}: {problem}", file=sys.stderr)
        code = 1
    sys.stderr.flush()
    os._exit(code)
