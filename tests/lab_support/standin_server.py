"""A stand-in server as a plain process, on a model folder, for one test."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lab.content.models import HubRepo

PROGRAM = Path(__file__).parents[2] / "lab/content/standin/server.py"
NAME = "lab/tiny"


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        port: int = sock.getsockname()[1]
        return port


def write_model(repo: HubRepo, folder: Path) -> Path:
    for path, content in repo.files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(content)
    return folder


@dataclass
class Answer:
    status: int
    text: str

    @property
    def json(self) -> Any:
        return json.loads(self.text)


@dataclass
class Standin:
    """Started by ``start``; ``knobs`` changes its faults while it runs."""

    folder: Path
    model: Path
    arguments: dict[str, Any] = field(default_factory=dict)
    environment: dict[str, str] = field(default_factory=dict)
    port: int = field(default_factory=free_port)
    text: str = ""  # of the config file, in place of one made of ``arguments``
    process: subprocess.Popen[bytes] | None = None

    def start(self, *flags: str, wait: bool = True) -> "Standin":
        config = {
            "model": str(self.model),
            "served-model-name": [NAME],
            "host": "127.0.0.1",
            "port": self.port,
            "max-model-len": 512,
            **self.arguments,
        }
        file = self.folder / "vllm.yaml"
        lines = [f"{json.dumps(key)}: {json.dumps(value)}\n" for key, value in config.items()]
        file.write_text(self.text or "# made by a test\n" + "".join(lines))
        own = {"STANDIN_CONTROL": str(self.folder / "standin.json"), **self.environment}
        with (self.folder / "log").open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, str(PROGRAM), "--config", str(file), *flags],
                stdout=log, stderr=log, env={**os.environ, **own},
            )  # fmt: skip
        if wait:
            self.until_ready()
        return self

    def until_ready(self, seconds: float = 20) -> None:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            assert self.running, self.log
            if self.ask("/health").status == 200:
                return
            time.sleep(0.02)
        raise AssertionError(f"not ready after {seconds} s: {self.log}")

    @property
    def running(self) -> bool:
        return self.process is not None and self.process.poll() is None

    @property
    def log(self) -> str:
        return (self.folder / "log").read_text()

    def knobs(self, **knobs: Any) -> None:
        part = self.folder / "standin.json.part"
        part.write_text(json.dumps(knobs))
        part.replace(self.folder / "standin.json")

    def ask(self, path: str, body: object = None, key: str = "", timeout: float = 10) -> Answer:
        """Status 0: no answer."""
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}{path}", data, headers)
        try:
            with urllib.request.urlopen(request, timeout=timeout) as answer:
                return Answer(answer.status, answer.read().decode())
        except urllib.error.HTTPError as error:
            return Answer(error.code, error.read().decode())
        except OSError as error:
            return Answer(0, str(error))

    def complete(self, timeout: float = 10, **more: Any) -> Answer:
        body = {"model": NAME, "prompt": "hi", "max_tokens": 5, **more}
        return self.ask("/v1/completions", body, timeout=timeout)

    def metric(self, name: str) -> float:
        lines = self.ask("/metrics").text.splitlines()
        found = [line for line in lines if line.startswith(name + "{")]
        assert found, f"no {name} in /metrics"
        return float(found[0].rsplit(" ", 1)[1])

    def terminate(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)

    def ended(self, seconds: float = 15) -> int:
        """The exit status, or a failure if it does not end."""
        assert self.process is not None
        return self.process.wait(seconds)

    def close(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait()
