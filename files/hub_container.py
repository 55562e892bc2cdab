"""The container that downloads: started, followed, paused outside its hours, taken away."""

from __future__ import annotations

import contextlib
import datetime
import fcntl
import json
import os
import re
import subprocess
import threading
import time
from collections import deque
from pathlib import Path
from typing import IO, Any

import command
import rate_proxy
from errors import HostError
from model_request import Request
from window import seconds_until

PROGRAM = Path(__file__).with_name("hub_download.py")
CA_BUNDLE = "/etc/ssl/certs/ca-certificates.crt"
LABEL = "vllm-fleet.job=download"
WORKERS = 8
POLL_S, TELL_S, RATE_S = 1.0, 5.0, 30.0
PARTIAL = re.compile(r"(?P<etag>.+)\.[0-9a-f]{8}\.incomplete")


def download(request: Request, paths: tuple[str, ...]) -> None:
    """Bring ``paths`` into the cache; HostError says what the Hub or the disk refused."""
    await_window(request)
    clear(request)
    with rate_proxy.serving(request.rate) as proxy:
        process = subprocess.Popen(
            argv(request, proxy),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        said = _Output(process.stdout)
        _send(process, request, paths)
        _follow(process, request, paths)
    said.join()
    _judge(request, process.returncode, said)


def await_window(request: Request) -> None:
    """Return when the host may download."""
    while wait := seconds_until(request.window, datetime.datetime.now()):
        print(f"{request.repo}: waits {wait:.0f} s for the hours {request.window}", flush=True)
        time.sleep(min(wait, TELL_S))


def name(request: Request) -> str:
    return f"vllm-fleet-download-{request.revision[:12]}"


def clear(request: Request) -> None:
    """Take away what a killed download left: its container and its parts of files.

    huggingface_hub does not go on with such a part. One that another program writes is locked.
    HostError where the model's folders lead elsewhere.
    """
    command.attempt(["docker", "rm", "--force", name(request)], timeout=60)
    request.require_own()
    locks = request.hub / ".locks" / request.blobs.parent.name
    for part in request.blobs.glob("*.incomplete"):
        if (found := PARTIAL.fullmatch(part.name)) and _unlocked(locks / f"{found['etag']}.lock"):
            part.unlink(missing_ok=True)


def _unlocked(lock: Path) -> bool:
    try:
        with lock.open("r+") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return True


def argv(request: Request, proxy: str) -> list[str]:
    """The cache is root's, whomever the image would run as."""
    # Shared blobs would make the snapshot unreadable for tools that copy one model's folder.
    env = {
        "HF_ENDPOINT": request.endpoint,
        "HF_HUB_DISABLE_SHARED_BLOBS": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "HF_HUB_DISABLE_UPDATE_CHECK": "1",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "SSL_CERT_FILE": CA_BUNDLE,
        "REQUESTS_CA_BUNDLE": CA_BUNDLE,
        "HF_HOME": "/tmp/hf",
        "HF_XET_CHUNK_CACHE_SIZE_BYTES": "0",  # 10 GB by default, and /tmp is memory
    }
    words = ["docker", "run", "--rm", "--interactive", "--name", name(request), "--label", LABEL]
    words += ["--network", "host", "--user", "0:0", "--entrypoint", "python3"]
    # A folder in the cache may be another user's.
    words += ["--cap-drop", "ALL", "--cap-add", "DAC_OVERRIDE", "--read-only"]
    words += ["--tmpfs", "/tmp:size=1g", "--security-opt", "no-new-privileges"]
    words += ["--volume", f"{request.hub}:/models/hub", "--volume", f"{CA_BUNDLE}:{CA_BUNDLE}:ro"]
    if request.token_file.exists():
        words += ["--volume", f"{request.token_file}:/run/hf_token:ro"]
        env["HF_TOKEN_PATH"] = "/run/hf_token"
    if proxy:
        env["HTTPS_PROXY"] = proxy
    for key, value in env.items():
        words += ["--env", f"{key}={value}"]
    return [*words, request.image, "-"]


def _send(process: subprocess.Popen[str], request: Request, paths: tuple[str, ...]) -> None:
    sizes = {file.path: file.size for file in request.files}
    wanted = {
        "repo": request.repo,
        "revision": request.revision,
        "paths": sorted(paths, key=lambda path: -sizes[path]),
        "cache": "/models/hub",
        "patience_s": request.patience_s,
        "workers": WORKERS,
    }
    with contextlib.suppress(BrokenPipeError), process.stdin or contextlib.nullcontext() as pipe:
        if pipe:  # what the container says instead of reading it is told by _judge
            pipe.write(f"{PROGRAM.read_text()}\nmain({wanted!r})\n")


def _follow(process: subprocess.Popen[str], request: Request, paths: tuple[str, ...]) -> None:
    """Until it ends: a line every few seconds, and pauses outside its hours."""
    total = sum(file.size for file in request.files if file.path in paths)
    before, told, paused = stored(request), 0.0, False
    seen: deque[tuple[float, int]] = deque([(time.monotonic(), 0)])
    while process.poll() is None:
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(POLL_S)
        closed = seconds_until(request.window, datetime.datetime.now()) > 0
        if closed != paused:
            done = command.attempt(["docker", "pause" if closed else "unpause", name(request)])
            paused = closed if done.rc == 0 else paused
        now = time.monotonic()
        if now - told >= TELL_S:
            told = now
            seen.append((now, max(stored(request) - before, 0)))
            while now - seen[0][0] > RATE_S:
                seen.popleft()
            print(line(request.repo, seen, total, request.window if paused else None), flush=True)


def line(repo: str, seen: deque[tuple[float, int]], total: int, waits_for: str | None) -> str:
    """Bytes so far, rate of the last half minute, time left."""
    (then, before), (now, size) = seen[0], seen[-1]
    text = f"{repo}: {size >> 20} of {total >> 20} MiB"
    if waits_for:
        return f"{text}, paused outside the hours {waits_for}"
    rate = (size - before) / (now - then) if now > then else 0.0
    left = f", {(total - size) / rate:.0f} s left" if rate > 0 and size < total else ""
    return f"{text}, {rate / 1e6:.1f} MB/s{left}"


def stored(request: Request) -> int:
    """Bytes of the model that lie in the cache, parts of files included."""
    size = 0
    with contextlib.suppress(FileNotFoundError):  # nothing yet
        for entry in os.scandir(request.blobs):
            with contextlib.suppress(FileNotFoundError):  # a part that was just renamed
                size += 0 if entry.name.endswith(".corrupt") else entry.stat().st_size
    return size


class _Output(threading.Thread):
    """Reads what the container says, passes on what a person should see, keeps the end."""

    def __init__(self, pipe: IO[str] | None) -> None:
        super().__init__(daemon=True)
        self._pipe = pipe
        self.last = ""
        self.result: dict[str, Any] | None = None
        self.start()

    def run(self) -> None:
        for text in self._pipe or ():
            try:
                entry = json.loads(text)
                self._entry(entry)
            except (ValueError, TypeError, KeyError):
                self.last = text.strip() or self.last

    def _entry(self, entry: dict[str, Any]) -> None:
        if "retry" in entry:
            print(f"{entry['retry']}: {entry['why']}; again in {entry['wait_s']} s", flush=True)
        else:
            self.result = {"failed": dict(entry["failed"]), "final": bool(entry["final"])}


def _judge(request: Request, status: int, said: _Output) -> None:
    if said.result is None:
        raise HostError(f"{request.repo}: the download ended with {status}: {said.last[-200:]}")
    for path, why in said.result["failed"].items():
        what = "" if said.result["final"] else f"; tried for {request.patience_s:.0f} s"
        raise HostError(
            f"{request.repo}: {path}: {why}{what}; what was fetched stays, run again to go on"
        )
