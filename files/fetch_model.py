"""Bring one locked model into the host's cache, whole and checked: ``fetch_model.py REQUEST.json``.

The download is huggingface_hub's own, from the serving image. Progress is one line every few
seconds; the last line says what is wrong when the exit status is 1.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import weights

TRIES = 5
TELL_S = 5.0
SPARE_BYTES = 1 << 30  # never fill a host's disk to the brim
CA_BUNDLE = "/etc/ssl/certs/ca-certificates.crt"


class Stopped(Exception):
    """What is wrong, in one line."""


def fetch(request: dict[str, Any]) -> None:
    """Check, set bad files aside, download what is missing, check again."""
    hub = Path(request["hub"])
    folder = weights.snapshot_dir(hub, request["repo"], request["revision"])
    files = [weights.LockedFile(**file) for file in request["files"]]
    answer = weights.check(folder, files, deep=bool(request.get("deep")))
    for attempt in range(1, TRIES + 1):
        if answer.whole:
            print(f"{request['repo']}: {len(files)} files are whole", flush=True)
            return
        if answer.corrupt:
            print(f"set aside, not as locked: {', '.join(answer.corrupt)}", flush=True)
            weights.set_aside(folder, answer.corrupt)
        _room(hub, files, {*answer.missing, *answer.corrupt})
        status, said = _download(request, hub, sum(f.size for f in files))
        answer = weights.check(folder, files)
        if status and not answer.whole and attempt < TRIES:
            print(f"try {attempt} of {TRIES}: {said}", flush=True)
            time.sleep(2**attempt)
    if not answer.whole:
        bad = ", ".join([*answer.missing, *answer.corrupt][:5])
        raise Stopped(f"{request['repo']}: not as locked after {TRIES} tries: {bad}: {said}")


def _room(hub: Path, files: list[weights.LockedFile], wanted: set[str]) -> None:
    hub.mkdir(parents=True, exist_ok=True)
    need = sum(f.size for f in files if f.path in wanted) + SPARE_BYTES
    free = shutil.disk_usage(hub).free
    if free < need:
        raise Stopped(f"{hub}: found {free >> 20} MiB free, the model needs {need >> 20} MiB")


def _download(request: dict[str, Any], hub: Path, total: int) -> tuple[int, str]:
    """huggingface_hub's status and last line."""
    process = subprocess.Popen(
        _argv(request, hub), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    began, before = time.monotonic(), _bytes(hub, request["repo"])
    while True:
        try:
            said, _ = process.communicate(timeout=TELL_S)
            break
        except subprocess.TimeoutExpired:
            _tell(_bytes(hub, request["repo"]), before, total, time.monotonic() - began)
    lines = [line for line in said.splitlines() if line.strip()] or [""]
    return process.returncode, lines[-1][-200:]


def _argv(request: dict[str, Any], hub: Path) -> list[str]:
    # Shared blobs would make the snapshot unreadable for tools that copy one model's folder.
    env = {
        "HF_ENDPOINT": request["endpoint"],
        "HF_HUB_DISABLE_SHARED_BLOBS": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "HF_HUB_DISABLE_UPDATE_CHECK": "1",
        "SSL_CERT_FILE": CA_BUNDLE,
        "REQUESTS_CA_BUNDLE": CA_BUNDLE,
        "HF_HOME": "/tmp/hf",
    }
    # The cache is root's, whomever the image would run as.
    argv = ["docker", "run", "--rm", "--network", "host", "--user", "0:0", "--entrypoint", "hf"]
    argv += ["--label", "vllm-fleet.job=download", "--volume", f"{hub}:/models/hub"]
    argv += ["--volume", f"{CA_BUNDLE}:{CA_BUNDLE}:ro"]
    if request.get("token_file"):
        argv += ["--volume", f"{request['token_file']}:/run/hf_token:ro"]
        env["HF_TOKEN_PATH"] = "/run/hf_token"
    for key, value in env.items():
        argv += ["--env", f"{key}={value}"]
    argv += [request["image"], "download", request["repo"], "--revision", request["revision"]]
    return [*argv, "--cache-dir", "/models/hub", "--max-workers", "8"]


def _bytes(hub: Path, repo: str) -> int:
    blobs = hub / ("models--" + repo.replace("/", "--")) / "blobs"
    try:
        return sum(entry.stat().st_size for entry in os.scandir(blobs))
    except FileNotFoundError:
        return 0  # nothing yet, or a part that was just renamed: told again in a moment


def _tell(now: int, before: int, total: int, seconds: float) -> None:
    rate = max(now - before, 0) / seconds
    left = f", {(total - now) / rate:.0f} s left" if rate > 0 and total > now else ""
    print(f"{now >> 20} of {total >> 20} MiB, {rate / 1e6:.1f} MB/s{left}", flush=True)


def main(argv: list[str]) -> int:
    request = json.loads(Path(argv[1]).read_text())
    try:
        fetch(request)
    except (Stopped, OSError) as error:
        print(f"{error}", flush=True)
        return 1
    finally:
        if request.get("token_file"):
            Path(request["token_file"]).unlink(missing_ok=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv))
