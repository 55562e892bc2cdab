"""What lab hosts install from: the vendors' repositories as stand-ins, Debian's packages, a CA.

``prepare`` builds what is missing in the cache, ``start`` serves it inside a running lab.
"""

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
from lab.command import LabError, run
from lab.state import CONTROL
from lab.supply import sources, www
from lab.supply.ca import NAMES, Ca, ca
from lab.supply.docker import repacked
from lab.supply.keys import Keys, keys
from lab.supply.pool import pool
from lab.supply.repository import Site

START_SECONDS = 15
# What decides the web root's content; the gate and its servers do not.
CONTENT = (
    *("versions.py", "www.py", "repository.py", "deb.py", "elf.py", "standin.py", "standins"),
    *("driver.py", "kernel.py", "toolkit.py", "dgx.py"),
)


@dataclass(frozen=True)
class Supply:
    """Prepared once for an architecture, used by every lab of it."""

    arch: str
    www: Path  # <host name>/<path>; shared, see serve_copy
    ca: Ca
    keys: Keys
    names: tuple[str, ...]  # for a host's /etc/hosts, all at the control address
    root_files: Mapping[str, bytes]  # absolute path in a host's root -> content
    fingerprints: Mapping[str, str]  # "nvidia" | "toolkit" | "docker" | "dgx" | "ubuntu"


def prepare(arch: str) -> Supply:
    """Build (or find in the cache) all that hosts of ``arch`` (amd64 or arm64) install from."""
    authority, signing = ca(), keys()
    native = run("dpkg", "--print-architecture").strip()
    packages, docker_debs = pool(arch), repacked(pool(native) / "docker", arch)
    sources_of = digest_of(*(Path(__file__).parent / name for name in CONTENT))
    inputs = [arch, sources_of, str(packages), str(docker_debs), str(signing.place)]

    def build(out: Path) -> None:
        www.make(Site(out, arch, signing), packages, docker_debs)

    return Supply(
        arch=arch,
        www=artefact(f"www-{arch}", inputs, build),
        ca=authority,
        keys=signing,
        names=NAMES,
        root_files=sources.root_files(arch, authority, signing),
        fingerprints={owner: signing.fingerprint(owner) for owner in sources.SIGNERS},
    )


def start(run_dir: Path, netns: str, supply: Supply) -> list[int]:
    """Serve ``supply`` at the control address inside network namespace ``netns``.

    Writes below ``run_dir``: www/ (this lab's own indexes, may be spoilt by tests),
    gate.log (one JSON object a request), gate.out. Returns the process ids to end with SIGTERM.
    """
    serve_copy(supply.www, run_dir / "www")
    config = {
        "netns": netns, "address": CONTROL, "www": str(run_dir / "www"),
        "log": str(run_dir / "gate.log"), "ready": str(run_dir / "gate.ready"),
        "certificate": str(supply.ca.server_certificate), "key": str(supply.ca.server_key),
        "hub": str(run_dir / "hub.sock"),
    }  # fmt: skip
    (run_dir / "gate.json").write_text(json.dumps(config))
    (run_dir / "gate.ready").unlink(missing_ok=True)
    env = {**os.environ, "PYTHONPATH": str(Path(lab.__path__[0]).parent)}
    argv = [sys.executable, "-m", "lab.supply.gate", str(run_dir / "gate.json")]
    with (run_dir / "gate.out").open("wb") as out:
        gate = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=out, stderr=out, env=env,
                                start_new_session=True)  # fmt: skip
    _await(gate, run_dir)
    return [gate.pid]


def serve_copy(shared: Path, own: Path) -> None:
    """A lab's own copy of a web root: small files copied, packages linked."""
    for folder, _, files in os.walk(shared):
        place = own / Path(folder).relative_to(shared)
        place.mkdir(parents=True, exist_ok=True)
        for name in files:
            source, target = Path(folder, name), place / name
            target.unlink(missing_ok=True)
            if name.endswith(".deb"):
                target.symlink_to(source)
            else:
                target.write_bytes(source.read_bytes())


def _await(gate: "subprocess.Popen[bytes]", run_dir: Path) -> None:
    end = time.monotonic() + START_SECONDS
    while not (run_dir / "gate.ready").exists():
        if gate.poll() is not None or time.monotonic() > end:
            gate.kill()
            last = (run_dir / "gate.out").read_text().strip().splitlines()[-1:]
            raise LabError(f"gate: did not start: {''.join(last) or 'no output'}")
        time.sleep(0.05)
