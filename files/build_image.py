"""Build an image, for the fleet's registry to serve: ``build_image.py REQUEST.json``.

Request: {"context": folder, "name", "key", "args": {…}, "store": folder, "record": file}. What the
build says goes to standard output; the last line says what is wrong when the exit status is 1.
"""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import durable

START_S = 20.0
TELLING = re.compile(r"error|fatal|denied|not found|no such|failed|cannot", re.IGNORECASE)


class Failed(Exception):
    """What is wrong, in one line."""


def run(argv: list[str], what: str, environment: dict[str, str] | None = None) -> list[str]:
    """The program's output, told as it comes; ``Failed`` with its most telling line."""
    process = subprocess.Popen(
        argv,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        env={**os.environ, **(environment or {})},
    )
    assert process.stdout is not None
    lines = []
    for line in process.stdout:
        print(line.rstrip("\n"), flush=True)
        if line.strip():
            lines.append(line.strip())
    if status := process.wait():
        telling = [line for line in lines[-40:] if TELLING.search(line)] or lines or ["no output"]
        raise Failed(f"{what}: exit status {status}: {short(telling[-1])}")
    return lines


def short(line: str) -> str:
    """A long line without its middle: what failed stands in front, why at the end."""
    return line if len(line) <= 240 else f"{line[:90]} … {line[-147:]}"


def has_buildkit() -> bool:
    """Whether Docker's own builder, a plugin of the client, is installed."""
    done = subprocess.run(["docker", "buildx", "version"], capture_output=True, check=False)
    return done.returncode == 0


def build(request: dict[str, Any], tag: str) -> str:
    """Build ``tag``; which builder did it."""
    words = ["--tag", tag]
    for name, value in request["args"].items():
        words += ["--build-arg", f"{name}={value}"]
    if has_buildkit():
        # One manifest, no attestations beside it: what is pulled is what was built.
        words += ["--progress=plain", "--provenance=false", "--sbom=false", "--load"]
        run(["docker", "buildx", "build", *words, request["context"]], "docker buildx build")
        return "buildkit"
    classic = {"DOCKER_BUILDKIT": "0"}
    run(["docker", "build", *words, request["context"]], "docker build", classic)
    return "classic"


@contextmanager
def registry(store: Path, folder: Path) -> Iterator[str]:
    """A registry on loopback that may write to ``store``, while it is needed; its HOST:PORT."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        address = f"127.0.0.1:{free.getsockname()[1]}"
    config = {
        "version": "0.1",
        "log": {"level": "error"},
        "storage": {"filesystem": {"rootdirectory": str(store)}},
        "http": {"addr": address},
    }
    path = folder / "registry.json"
    durable.write_json(path, config)
    process = subprocess.Popen(
        ["docker-registry", "serve", str(path)],
        env={**os.environ, "OTEL_TRACES_EXPORTER": "none"},
    )
    try:
        listening(process, address)
        yield address
    finally:
        process.terminate()
        process.wait()


def listening(process: subprocess.Popen[bytes], address: str) -> None:
    host, port = address.split(":")
    end = time.monotonic() + START_S
    while process.poll() is None and time.monotonic() < end:
        with socket.socket() as probe:
            if probe.connect_ex((host, int(port))) == 0:
                return
        time.sleep(0.1)
    raise Failed(f"docker-registry: does not listen at {address}; see the lines above")


def push(tag: str, target: str) -> str:
    """Push what is tagged ``tag`` as ``target``; its digest."""
    run(["docker", "tag", tag, target], "docker tag")
    try:
        lines = run(["docker", "push", target], "docker push")
    finally:
        subprocess.run(["docker", "image", "rm", target], capture_output=True, check=False)
    found = [match[1] for line in lines if (match := re.search(r"digest: (sha256:\w{64})", line))]
    if not found:
        raise Failed(f"docker push: told no digest: {short(lines[-1]) if lines else 'no output'}")
    return found[-1]


def work(request: dict[str, Any], folder: Path) -> None:
    name, key, store = request["name"], request["key"], Path(request["store"])
    store.mkdir(parents=True, exist_ok=True)
    tag = f"{name}:{key}"
    builder = build(request, tag)
    with registry(store, folder) as address:
        digest = push(tag, f"{address}/{name}:{key}")
    durable.write_json(
        Path(request["record"]), {"digest": digest, "builder": builder, "name": name, "key": key}
    )
    print(f"built {name} {key}: {digest}", flush=True)


def main(argv: list[str]) -> int:
    os.umask(0o022)  # the registry that serves the store is another user
    path = Path(argv[1])
    try:
        work(json.loads(path.read_text()), path.parent)
    except (Failed, OSError) as error:
        print(f"{error}", flush=True)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv))
