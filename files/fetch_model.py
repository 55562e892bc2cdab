"""Bring one locked model into this host's cache, whole: ``fetch_model.py REQUEST.json [--deep]``.

What lies there is checked first and used; the rest comes from the Hub, by huggingface_hub of the
serving image. The last line says what is wrong when the exit status is not 0. With ``--clean`` it
takes away what a killed run left, which systemd does at the end of every run.
"""

from __future__ import annotations

import os
import shutil
import sys
import time
from pathlib import Path

import check_model
import hub_container
import model_request
from errors import HostError, exit_code
from model_lock import alone
from model_request import Request

ROUNDS = 3  # of download and check: the Hub's own check lets wrong bytes of the right size pass


def fetch(request: Request, *, deep: bool) -> None:
    """Check, download what is missing, check again. HostError says what could not be had."""
    answer = check_model.check(request, deep=deep)
    for attempt in range(ROUNDS):
        if answer.whole:
            print(f"{request.repo}: {len(request.files)} files are whole", flush=True)
            return
        time.sleep(2 * attempt)
        drop_parts(request)
        require_room(request, answer.wanted)
        hub_container.download(request, answer.wanted)
        answer = check_model.check(request)
    if not answer.whole:
        raise HostError(
            f"{request.repo}: not as locked after {ROUNDS} downloads: "
            f"{check_model.shown(answer.wanted)}; the Hub has other bytes than the lock says"
        )


def require_room(request: Request, paths: tuple[str, ...], *, had: int = 0) -> None:
    """Raise HostError unless what is missing fits: huggingface_hub itself only warns. ``had`` bytes
    of it are there in parts."""
    request.hub.mkdir(parents=True, exist_ok=True)
    need = sum(file.size for file in request.files if file.path in paths) - had
    free = shutil.disk_usage(request.hub).free
    if free < need:
        raise HostError(
            f"{request.hub}: found {free >> 20} MiB free, wanted {(need >> 20) + 1} MiB for "
            f"{request.repo}; free space: prune.py lists what no release needs"
        )


def clean(request: Request) -> None:
    """No token, no container, no part of a file stays behind."""
    request.token_file.unlink(missing_ok=True)
    hub_container.clear(request)
    drop_parts(request)


def drop_parts(request: Request) -> None:
    """What a fan-out that came to nothing left: huggingface_hub does not go on with it."""
    request.require_own()
    for part in request.blobs.glob(f"*{model_request.PART}"):
        part.unlink(missing_ok=True)


def main() -> int:
    request = model_request.read(Path(sys.argv[1]))
    if "--clean" in sys.argv[2:]:
        with alone(request, wait=False) as ours:
            if ours:
                clean(request)
        return 0
    os.nice(check_model.NICE)
    with alone(request):
        try:
            fetch(request, deep="--deep" in sys.argv[2:])
        except OSError as error:
            raise HostError(f"{error.filename or request.hub}: {error.strerror}") from None
        finally:
            clean(request)
    return 0


if __name__ == "__main__":
    sys.exit(exit_code("fetch_model", main))
