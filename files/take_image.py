"""One host's part in a fan-out of an image: ``take_image.py REQUEST.json LINKS.json [--clean]``.

Docker pulls the image from an endpoint on this host's loopback, which has the compressed layers
that Docker asks for brought by the host before it in the chain (the first host of the chain: by the
registry) and passed on meanwhile. Then Docker pulls by the image's own name: of what it has by
digest it fetches the manifests alone. Whatever fails before that leaves an ordinary pull.

REQUEST.json: {"image": NAME@DIGEST, "registry": scheme and host, "repository", "digest", "folder":
for blobs, "room": bytes the unpacked image takes}. LINKS.json as for ``take_model.py``. With
``--clean`` what a run left behind goes, which systemd does at the end of every run.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import command
import layout
import notify
from blob_filler import Filler
from errors import HostError, exit_code
from pull_endpoint import REPOSITORY, Endpoint
from registry_client import Registry, parts
from relay_client import Source
from relay_server import Server, serve, stay
from shelf import Item, Shelf

ROUNDS = 3
IDLE_S = 600.0
TELL_S = 5.0
DOCKER_S = 60.0  # what a question to the daemon may take


def shelf_of(request: dict[str, Any], blobs: dict[str, int]) -> Shelf:
    """Every blob of the image; HostError where they and the unpacked image have no room."""
    folder = Path(request["folder"])
    folder.mkdir(parents=True, exist_ok=True)
    need, free = sum(blobs.values()) + request["room"], shutil.disk_usage(folder).free
    if free < need:
        raise HostError(f"{folder}: found {free >> 20} MiB free, wanted {need >> 20} MiB")
    items = [Item(s, size, folder / s, folder / f"{s}.part") for s, size in blobs.items()]
    for item in items:
        whole = item.path.exists() and item.path.stat().st_size == item.size
        item.ready = item.size if whole else item.had
    return Shelf(items)


def share(request: dict[str, Any], links: dict[str, Any], servers: list[Server]) -> None:
    """Have Docker pull from this host's endpoint; HostError when that came to nothing.

    What passes blobs on is added to ``servers``, and goes on when this returns.
    """
    registry = Registry(request["registry"], request["repository"])
    arch = command.run(["docker", "version", "--format", "{{.Server.Arch}}"], timeout=DOCKER_S)
    manifests, blobs = parts(registry, request["digest"], arch.strip())
    shelf = shelf_of(request, blobs)
    sources = [Source(address, links["port"], settled) for address, settled in links["sources"]]
    filler = Filler(shelf, registry, links["secret"], sources)
    servers += serve(links, shelf)
    endpoint = Endpoint(manifests, shelf)
    try:
        for _ in range(ROUNDS):
            said = pull(endpoint.image, filler)
            if not said:
                return
            if filler.problem or not filler.drop_bad():
                raise HostError(filler.problem or said)
    finally:
        endpoint.close()


def pull(image: str, filler: Filler | None = None) -> str:
    """Docker pulls ``image``: "" when it has it, else what it said last."""
    began = told = time.monotonic()
    process = subprocess.Popen(
        ["docker", "pull", image], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    last = LastLine(process)
    while process.poll() is None:
        if filler and filler.problem:
            process.terminate()
        time.sleep(0.2)
        if filler and time.monotonic() - told > TELL_S:
            told = time.monotonic()
            print(filler.line(told - began), flush=True)
    last.join()
    return "" if process.returncode == 0 else last.text or f"ended with {process.returncode}"


class LastLine(threading.Thread):
    """Reads what a process says, passes it on where nobody else tells, keeps its last line."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        super().__init__(daemon=True)
        self._pipe, self.text = process.stdout, ""
        self.start()

    def run(self) -> None:
        for line in self._pipe or ():
            self.text = line.strip() or self.text


def clean(request: dict[str, Any]) -> None:
    """No blob, no secret and no name of a loopback registry stays behind."""
    shutil.rmtree(request["folder"], ignore_errors=True)
    for path in sys.argv[1:3]:
        Path(path).unlink(missing_ok=True)
    forget_endpoint(request)


def drop_others(digest: str) -> None:
    """What transfers of other images left when they could not clean up: none of them runs now."""
    for path in layout.IMAGES.glob("*"):
        if path.name.partition(".")[0] != digest.removeprefix("sha256:"):
            shutil.rmtree(path) if path.is_dir() else path.unlink()


def forget_endpoint(request: dict[str, Any]) -> None:
    """The image keeps its own name alone."""
    listed = ["docker", "images", "--digests", "--format", "{{.Repository}}@{{.Digest}}"]
    for name in command.run(listed, timeout=DOCKER_S).split():
        local = name.startswith("127.0.0.1:") and f"/{REPOSITORY}@" in name
        if local and name.endswith(request["digest"]):
            command.attempt(["docker", "image", "rm", name], timeout=DOCKER_S)


def main() -> int:
    request = json.loads(Path(sys.argv[1]).read_text())
    if "--clean" in sys.argv[2:]:
        clean(request)
        return 0
    servers: list[Server] = []
    try:
        drop_others(request["digest"])
        share(request, json.loads(Path(sys.argv[2]).read_text()), servers)
    except (HostError, OSError) as error:
        print(f"{request['image']}: not from other hosts: {error}", flush=True)
    if said := pull(request["image"]):
        raise HostError(said)
    forget_endpoint(request)
    print(f"{request['image']} is present", flush=True)
    notify.notify(READY=1)
    stay(servers, IDLE_S)
    return 0


if __name__ == "__main__":
    sys.exit(exit_code("take_image", main))
