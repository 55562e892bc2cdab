"""OpenPGP keys of the lab's vendors: one each, in the place of the real vendor's key."""

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from subprocess import DEVNULL

from lab.cache import artefact
from lab.command import run

OWNERS = {
    "nvidia": "lab stand-in for cudatools <cudatools@nvidia.invalid>",
    "toolkit": "lab stand-in for NVIDIA CORPORATION (Open Source Projects) <nvidia@invalid>",
    "docker": "lab stand-in for Docker Release (CE deb) <docker@invalid>",
    "dgx": "lab stand-in for DGX BaseOS <dgx@invalid>",
    "ubuntu": "lab stand-in for Ubuntu Archive Automatic Signing Key <ubuntu@invalid>",
    "stranger": "somebody else, for tests of a wrong signature <stranger@invalid>",
}


@dataclass(frozen=True)
class Keys:
    """A directory with <owner>.asc (armored), <owner>.gpg (binary) and the secret halves."""

    place: Path

    def armored(self, owner: str) -> Path:
        return self.place / f"{owner}.asc"

    def binary(self, owner: str) -> Path:
        return self.place / f"{owner}.gpg"

    def fingerprint(self, owner: str) -> str:
        """40 hex digits, upper case, as a setting of the product names them."""
        return (self.place / f"{owner}.fingerprint").read_text().strip()

    def sign(self, owner: str, folder: Path) -> None:
        """Sign ``folder``/Release as ``owner``: InRelease and Release.gpg."""
        with _agent(self.place / owner) as env:
            for out, how in (("InRelease", "--clearsign"), ("Release.gpg", "-abs")):
                run("gpg", "--batch", "--yes", how, "-o", folder / out, folder / "Release", env=env)


def keys() -> Keys:
    """The keys of this cache, made on first use and kept."""
    return Keys(artefact("keys", OWNERS, _make))


def _make(out: Path) -> None:
    for owner, name in OWNERS.items():
        (out / owner).mkdir(mode=0o700)
        with _agent(out / owner, keep=True) as env:
            secret = ("--batch", "--passphrase", "", "--quick-gen-key", name, "ed25519", "sign")
            run("gpg", *secret, "never", env=env)
            run("gpg", "--armor", "--export", "-o", out / f"{owner}.asc", env=env)
            run("gpg", "--export", "-o", out / f"{owner}.gpg", env=env)
            listing = run("gpg", "--with-colons", "--list-keys", env=env)
        first = next(line for line in listing.splitlines() if line.startswith("fpr:"))
        (out / f"{owner}.fingerprint").write_text(first.split(":")[9] + "\n")


@contextmanager
def _agent(home: Path, keep: bool = False) -> Iterator[dict[str, str]]:
    """Environment for gpg on a short-lived copy of ``home``; its agent is ended afterwards.

    A copy, so that two signers never share (and end) one agent, and because the path of the
    agent's socket must stay short. With ``keep`` the copy then replaces ``home``.
    """
    with tempfile.TemporaryDirectory(prefix="lab-gpg-") as short:
        shutil.copytree(home, short, dirs_exist_ok=True, ignore=shutil.ignore_patterns("S.*"))
        Path(short).chmod(0o700)
        env = {"GNUPGHOME": short, "PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8"}
        with _running(env):
            yield env
        if keep:
            skip = shutil.ignore_patterns("S.*", "*.lock", "*~")
            shutil.copytree(short, home, dirs_exist_ok=True, ignore=skip)


@contextmanager
def _running(env: dict[str, str]) -> Iterator[None]:
    """gpg-agent as our own child: one that gpg starts would be left to nobody as a zombie."""
    socket = Path(run("gpgconf", "--list-dirs", "agent-socket", env=env).strip())
    agent = subprocess.Popen(["gpg-agent", "--no-detach", "--daemon", "--quiet"], env=env,
                             stdin=DEVNULL, stdout=DEVNULL, stderr=DEVNULL)  # fmt: skip
    try:
        for _ in range(500):
            if socket.exists():
                break
            time.sleep(0.01)
        yield
    finally:
        agent.terminate()
        agent.wait(5)
        run("gpgconf", "--remove-socketdir", env=env, check=False)
