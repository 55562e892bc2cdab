"""Download files of a model with the image's own huggingface_hub. Runs inside the serving image.

    docker run --rm --interactive --entrypoint python3 … IMAGE -

with this source and ``main({...})`` on stdin: {"repo", "revision", "paths", "cache", "patience_s",
"workers"}. A file that fails is tried again by itself, with growing pauses, until it has failed for
``patience_s`` seconds, those aside in which the container was paused; the others go on. What
waiting cannot mend ends all. Prints {"retry": path, "why", "wait_s"} lines and at the end
{"failed": {path: why}, "final": bool}.
"""

from __future__ import annotations

import importlib
import json
import random
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

FIRST_WAIT_S, LONGEST_WAIT_S = 1.0, 60.0
MOVED_S = 600.0  # the library gives up sooner on a Hub that is silent: bytes came meanwhile
TICK_S, PAUSED_S = 0.2, 5.0
NO_SPACE = (28, 122)  # ENOSPC, EDQUOT
# The library's names of what waiting cannot mend; a gated repository's class is one of a missing's.
FINAL = {
    "GatedRepoError": "is gated and the token's account has no access, or no token was given: "
    "accept its terms on the Hub, then set hf_token_file",
    "RepositoryNotFoundError": "is missing, or private and not visible to the token's account, or "
    "the token is refused",
    "RevisionNotFoundError": "has no such commit any more",
    "RemoteEntryNotFoundError": "has no such file at the locked commit",
}
Fetch = Callable[[str], object]


class Given(Exception):
    """Waiting cannot mend it."""


def say(**entry: object) -> None:
    print(json.dumps(entry), flush=True)


class Clock(threading.Thread):
    """``seconds`` that this process ran; a pause of its container counts ``PAUSED_S`` at most."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.seconds = 0.0
        self.start()

    def run(self) -> None:
        last = time.monotonic()
        while True:
            time.sleep(TICK_S)
            now = time.monotonic()
            self.seconds += min(now - last, PAUSED_S)
            last = now


class Download:
    """All files of one call. ``fetch`` brings one of them or raises."""

    def __init__(self, fetch: Fetch, patience_s: float) -> None:
        self._fetch, self._patience_s = fetch, patience_s
        self._clock = Clock()
        self._stop = threading.Event()
        self.failed: dict[str, str] = {}
        self.final = False

    def one(self, path: str) -> None:
        """Bring ``path``, or note why it could not be."""
        since, wait = None, FIRST_WAIT_S
        while not self._stop.is_set():
            began = self._clock.seconds
            try:
                self._fetch(path)
                return
            except Exception as error:
                now, why = self._clock.seconds, final(error)
                if since is None or now - began > max(self._patience_s, MOVED_S):
                    since, wait = now, FIRST_WAIT_S
                if why or now - since + wait > self._patience_s:
                    self._give_up(path, why or told(error), final=bool(why))
                    return
                say(retry=path, why=told(error), wait_s=round(wait, 1))
            self._stop.wait(wait * random.uniform(0.8, 1.2))
            wait = min(2 * wait, LONGEST_WAIT_S)

    def _give_up(self, path: str, why: str, *, final: bool) -> None:
        self.failed[path] = why
        self.final = self.final or final
        self._stop.set()  # what stops one file stops the others as well


def chain(error: BaseException | None) -> list[BaseException]:
    """The error and what it came from."""
    found: list[BaseException] = []
    while error is not None and error not in found:
        found.append(error)
        error = error.__cause__ or error.__context__
    return found


def final(error: BaseException) -> str:
    """What it means, if waiting cannot mend it; else nothing."""
    for each in chain(error):
        if isinstance(each, OSError) and each.errno in NO_SPACE:
            return "the disk is full"
        status = getattr(getattr(each, "response", None), "status_code", None)
        for kind in type(each).__mro__:
            if kind.__name__ in FINAL:
                return FINAL[kind.__name__]
        if status in (401, 403):
            return "is refused: the Hub does not accept the token (hf_token_file)"
        if status == 404:
            return FINAL["RemoteEntryNotFoundError"]
    return ""


def told(error: BaseException) -> str:
    """One line; the cause says more than the library's advice."""
    cause = chain(error)[-1]
    line = next(iter(str(cause).splitlines()), "")
    return f"{type(cause).__name__}: {line[:160]}" if line else type(cause).__name__


def main(request: dict[str, Any]) -> None:
    try:
        hub = importlib.import_module("huggingface_hub")
    except ImportError as error:
        sys.exit(f"the image has no huggingface_hub: {error}")

    def fetch(path: str) -> object:
        return hub.hf_hub_download(
            request["repo"], path, revision=request["revision"], cache_dir=request["cache"]
        )

    work = Download(fetch, request["patience_s"])
    with ThreadPoolExecutor(request["workers"]) as pool:
        list(pool.map(work.one, request["paths"]))
    say(failed=work.failed, final=work.final)
