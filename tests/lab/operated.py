"""Lab hosts that serve by hand-made releases, operated through pyinfra."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

import pytest

from lab.testing import REPO, Done, Lab
from tests.lab.serving_host import A, B, C, ServingHost, prepared_hosts

# Strict settings want an image; these tests never pull it.
DATA = {"vllm_image": f"registry.lab:5000/absent@sha256:{'0' * 64}"}


def prepared(lab: Lab, folder: Path) -> dict[str, ServingHost]:
    """Every host of the lab with Docker, programs, model and stand-in image."""
    return {host.name: host for host in prepared_hosts(lab, folder)}


def serve(hosts: dict[str, ServingHost], *releases: str) -> None:
    """Each host serves ``releases`` one after the other; the last one stays."""
    for host in hosts.values():
        host.clean()
        for digest in (A, B, C):
            host.stage(digest)
        for digest in releases:
            assert host.switched(digest)["outcome"] == "switched"


def evidence(done: Done) -> dict[str, Any]:
    """The evidence file that a run names in its last line."""
    found = re.findall(r"^evidence: (\S+)$", done.stdout, re.MULTILINE)
    assert found, done.stdout
    body: dict[str, Any] = json.loads((REPO / found[-1]).read_text())
    return body


def results(done: Done) -> dict[str, dict[str, Any]]:
    """Each host's record in the evidence of a run."""
    return {record["host"]: record for record in evidence(done)["hosts"]}


def ran(lab: Lab, deploy: str, *words: str, code: int, **data: str) -> Done:
    """A run of pyinfra that ends with ``code``."""
    done = lab.pyinfra(deploy, *words, data={**DATA, **data}, timeout=300)
    if done.returncode != code:
        pytest.fail(f"{deploy}: exit {done.returncode}, wanted {code}\n{done.stdout}")
    return done


def status_words() -> list[str]:
    """``status.py`` as a person types it: no -y."""
    pairs = [word for key, value in DATA.items() for word in ("--data", f"{key}={value}")]
    program = [sys.executable, "-m", "pyinfra", str(REPO / "lab/inventory.py")]
    return [*program, str(REPO / "status.py"), *pairs]
