"""Debian's docker-registry with the lab CA's certificate, on a store filled once per image set."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path

from lab.cache import artefact
from lab.command import LabError, run
from lab.content.oci import Image, Registry
from lab.network import inside
from lab.progress import step
from lab.state import CONTROL
from lab.supply.ca import Ca

NAME = "registry.lab"
PORT = 5000
START_S = 20.0


def require() -> None:
    """Install the packages that images and their registry need here."""
    wanted = {"docker-registry": "docker-registry", "strip": "binutils"}
    missing = [package for program, package in wanted.items() if not shutil.which(program)]
    if missing:
        environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        with step(f"installing on this machine: {' '.join(missing)}"):
            run("apt-get", "update", "-qq", env=environment)
            words = ("install", "-y", "-qq", "--no-install-recommends", *missing)
            run("apt-get", *words, env=environment)


def store(images: Mapping[str, Image], ca: Ca) -> Path:
    """The cached registry store that holds ``images``, each under its name and the tag ``lab``."""

    def build(out: Path) -> None:
        with running(out, ca) as registry:
            for name, image in images.items():
                registry.push(image, name, "lab")
        for image in images.values():
            share(out, image)

    digests = {name: image.digest for name, image in sorted(images.items())}
    return artefact("registry", [digests, 1], build)


def share(storage: Path, image: Image) -> None:
    """Let the store's blobs be the layers' own files, so that a small change costs little."""
    for layer in image.layers:
        name = layer.digest.removeprefix("sha256:")
        data = storage / "docker/registry/v2/blobs/sha256" / name[:2] / name / "data"
        data.unlink()
        data.hardlink_to(layer.blob)


@contextmanager
def running(storage: Path, ca: Ca) -> Iterator[Registry]:
    """A registry on this machine's loopback while its store is being filled."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    config = storage.with_name(f"{storage.name}.config.json")
    process = launch([], config, storage, ("127.0.0.1", port), ca)
    try:
        await_port(process, ("127.0.0.1", port), config)
        yield Registry(NAME, ("127.0.0.1", port), ca.certificate)
    finally:
        process.terminate()
        process.wait(START_S)
        config.unlink(missing_ok=True)
        config.with_suffix(".log").unlink(missing_ok=True)


def launch(
    prefix: Sequence[str], config: Path, storage: Path, address: tuple[str, int], ca: Ca
) -> subprocess.Popen[bytes]:
    """Start docker-registry; its log lies beside ``config``."""
    settings = {
        "version": "0.1",
        "log": {"level": "info", "accesslog": {"disabled": False}},
        "storage": {"filesystem": {"rootdirectory": str(storage)}, "delete": {"enabled": True}},
        "http": {
            "addr": f"{address[0]}:{address[1]}",
            "tls": {"certificate": str(ca.server_certificate), "key": str(ca.server_key)},
        },
    }
    config.write_text(json.dumps(settings, indent=1) + "\n")  # JSON is YAML
    environment = {**os.environ, "OTEL_TRACES_EXPORTER": "none"}
    with config.with_suffix(".log").open("wb") as log:
        return subprocess.Popen(
            [*prefix, "docker-registry", "serve", str(config)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env=environment,
            start_new_session=True,
        )


def await_port(
    process: subprocess.Popen[bytes], address: tuple[str, int], config: Path, netns: str = ""
) -> None:
    """Until the registry listens, or LabError with its last line."""
    end = time.monotonic() + START_S
    while process.poll() is None and time.monotonic() < end:
        with inside(netns) if netns else nullcontext(), socket.socket() as probe:
            if probe.connect_ex(address) == 0:
                return
        time.sleep(0.05)
    process.kill()
    last = config.with_suffix(".log").read_text(errors="replace").strip().splitlines()[-1:]
    raise LabError(f"docker-registry: does not listen: {''.join(last) or 'no output'}")


def start(run_dir: Path, netns: str, shared: Path, ca: Ca) -> int:
    """Serve ``shared`` at the control address inside ``netns``; returns the process id.

    The lab gets a store of its own, in which the blobs are links into the cache: what hosts or
    tests push, delete or spoil stays in this lab.
    """
    own = run_dir / "registry"
    mirror(shared, own)
    config = run_dir / "registry.json"
    process = launch(("ip", "netns", "exec", netns), config, own, (CONTROL, PORT), ca)
    await_port(process, (CONTROL, PORT), config, netns)
    return process.pid


def mirror(shared: Path, own: Path) -> None:
    """Copy a store, linking the blobs' data."""
    for folder, _, files in os.walk(shared):
        place = own / Path(folder).relative_to(shared)
        place.mkdir(parents=True, exist_ok=True)
        for name in files:
            target = place / name
            target.unlink(missing_ok=True)
            if name == "data":
                target.symlink_to(Path(folder, name))
            else:
                shutil.copyfile(Path(folder, name), target)
