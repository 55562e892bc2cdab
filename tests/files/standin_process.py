"""The stand-in server as a plain process on loopback, for tests of what asks a server."""

from __future__ import annotations

import json
import os
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import completion
import metrics

PROGRAM = Path(__file__).parents[2] / "lab/content/standin/server.py"
NAME = "lab/tiny"


class Standin:
    """A running stand-in; ``knobs`` changes what goes wrong while it runs."""

    def __init__(self, folder: Path, port: int) -> None:
        self.port = port
        self._control = folder / "standin.json"

    def knobs(self, **values: object) -> None:
        aside = self._control.with_suffix(".new")
        aside.write_text(json.dumps(values))
        aside.replace(self._control)

    def target(self, timeout_s: float = 5.0, **changes: object) -> completion.Target:
        values = {"address": "127.0.0.1", "port": self.port, "served_name": NAME, **changes}
        return completion.Target(timeout_s=timeout_s, **values)  # type: ignore[arg-type]

    def load(self, requests: int, tokens: int) -> None:
        """Requests in the background; returns when the engine has them all."""
        for _ in range(requests):
            target = self.target(60, max_tokens=tokens)
            threading.Thread(target=completion.complete, args=(target,), daemon=True).start()
        deadline = time.monotonic() + 10
        while self.requests() < requests:
            assert time.monotonic() < deadline, "the stand-in never got the requests"
            time.sleep(0.05)

    def requests(self) -> int:
        found = metrics.fetch("127.0.0.1", self.port)
        return found.running + found.waiting if found else 0


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def write_model(folder: Path) -> Path:
    """The smallest thing that passes for a model: a config and one float of weights."""
    folder.mkdir()
    header = json.dumps({"w": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}).encode()
    weights = struct.pack("<Q", len(header)) + header + bytes(4)
    (folder / "model.safetensors").write_bytes(weights)
    config = {"architectures": ["LlamaForCausalLM"], "max_position_embeddings": 2048}
    (folder / "config.json").write_text(json.dumps(config))
    return folder


@contextmanager
def standin(
    folder: Path, *flags: str, wait: bool = True, port: int = 0, **environ: str
) -> Iterator[Standin]:
    """A stand-in in ``folder``; with ``wait`` it answers when this returns. ``port`` 0: any."""
    server = Standin(folder, port or free_port())
    argv = [sys.executable, str(PROGRAM), str(write_model(folder / "model")), *flags]
    argv += ["--host", "127.0.0.1", "--port", str(server.port), "--served-model-name", NAME]
    environment = {**os.environ, "VLLM_CACHE_ROOT": str(folder), **environ}
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(argv, env=environment, stdout=log, stderr=log)
    try:
        deadline = time.monotonic() + 15
        while wait and completion.complete(server.target(1)).fault == "refused":
            assert process.poll() is None, (folder / "log").read_text()
            assert time.monotonic() < deadline, (folder / "log").read_text()
            time.sleep(0.05)
        yield server
    finally:
        process.kill()
        process.wait()
