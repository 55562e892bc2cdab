"""What lab hosts are given to serve: images in a registry, models on a Hub.

``prepare`` builds what is missing in the cache, ``start`` serves it inside a running lab.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import lab
from lab.cache import artefact, digest_of
from lab.command import LabError
from lab.content import images, registry
from lab.content.models import MODELS
from lab.state import Arch
from lab.supply.ca import Ca, ca

START_S = 15
ACCESS = {"lab/gated": "gated", "lab/private": "private"}
TOKENS = {"hf_lab_reader": ["lab/gated", "lab/private"], "hf_lab_stranger": []}


@dataclass(frozen=True)
class Content:
    """Prepared once for an architecture, used by every lab of it."""

    arch: Arch
    images: Mapping[str, str]  # "vllm-cpu" | "vllm-standin" -> "registry.lab:5000/name@sha256:…"
    store: Path  # the registry's, shared: see registry.start
    models: Path  # folders ORG--NAME, shared
    ca: Ca


def prepare(arch: Arch) -> Content:
    """Build (or find in the cache) images and models for hosts of ``arch``."""
    registry.require()
    authority = ca()
    built = images.images(arch)
    where = f"{registry.NAME}:{registry.PORT}"
    return Content(
        arch=arch,
        images={name: f"{where}/{name}@{image.digest}" for name, image in built.items()},
        store=registry.store(built, authority),
        models=models(),
        ca=authority,
    )


def models() -> Path:
    """The cached folder of the Hub's repositories; gated and private are lab/tiny once more."""

    def build(out: Path) -> None:
        repos = {name: make() for name, make in MODELS.items()}
        for name in ACCESS:
            repos[name] = MODELS["lab/tiny"]()
        for name, repo in repos.items():
            for path, content in repo.files.items():
                place = out / name.replace("/", "--") / path
                place.parent.mkdir(parents=True, exist_ok=True)
                place.write_bytes(content)

    here = Path(__file__).parent
    return artefact("models", [digest_of(here / "models.py", here / "llama.py"), ACCESS], build)


def start(run_dir: Path, netns: str, content: Content) -> list[int]:
    """Serve images and models to the lab in ``netns``; returns the process ids to end.

    Below ``run_dir``: hub.sock (the gate hands huggingface.co over), hub.log (one JSON object a
    request), hub-faults.json (rules, see hub_faults), hub/ORG--NAME/ (more repositories, if
    somebody puts them there), registry/ (this lab's own store), registry.log.
    """
    return [start_hub(run_dir, content), registry.start(run_dir, netns, content.store, content.ca)]


def start_hub(run_dir: Path, content: Content) -> int:
    """The Hub on its unix socket; its process id."""
    (run_dir / "hub").mkdir(exist_ok=True)
    ready = run_dir / "hub.ready"
    ready.unlink(missing_ok=True)
    config = {
        "listen": str(run_dir / "hub.sock"),
        "ready": str(ready),
        "directories": [str(run_dir / "hub"), str(content.models)],
        "access": ACCESS,
        "tokens": TOKENS,
        "faults": str(run_dir / "hub-faults.json"),
        "log": str(run_dir / "hub.log"),
    }
    (run_dir / "hub.json").write_text(json.dumps(config))
    environment = {**os.environ, "PYTHONPATH": str(Path(lab.__path__[0]).parent)}
    argv = [sys.executable, "-m", "lab.content.hub", str(run_dir / "hub.json")]
    with (run_dir / "hub.out").open("wb") as out:
        process = subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            env=environment,
            start_new_session=True,
        )
    end = time.monotonic() + START_S
    while not ready.exists():
        if process.poll() is not None or time.monotonic() > end:
            process.kill()
            last = (run_dir / "hub.out").read_text().strip().splitlines()[-1:]
            raise LabError(f"Hub stand-in: did not start: {''.join(last) or 'no output'}")
        time.sleep(0.05)
    return process.pid
