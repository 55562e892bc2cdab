"""What runs on the control side of a lab, and what hosts hold to use it."""

import shutil
from pathlib import Path

from lab import cgroup, content, supply
from lab.command import run
from lab.content import Content
from lab.progress import step
from lab.state import State
from lab.supply import Supply

GROUP = "control"  # the cgroup of the control side's servers


def prepare(state: State) -> tuple[Supply, Content]:
    """Build what the servers serve, as far as the cache lacks it."""
    with step("packages and repositories"):
        supplied = supply.prepare(state.arch)
    with step("images and models"):
        return supplied, content.prepare(state.arch)


def start(state: State, supplied: Supply, offered: Content) -> None:
    """Start the servers; they end with their cgroup."""
    with cgroup.joined(state.name, GROUP):
        supply.start(state.run, state.netns, supplied)
        content.start(state.run, state.netns, offered)


def write(layer: Path, root: Path, supplied: Supply) -> None:
    """Into a host layer over ``root``: apt's sources, keys, and trust in the lab's CA."""
    for path, text in supplied.root_files.items():
        target = layer / path.lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(text)
    trust(layer, root, supplied.ca.certificate)


def trust(layer: Path, root: Path, certificate: Path) -> None:
    """What update-ca-certificates would do on the host, where it takes 42 s under qemu-user."""
    certs = layer / "etc/ssl/certs"
    certs.mkdir(parents=True, exist_ok=True)
    bundle = (root / "etc/ssl/certs/ca-certificates.crt").read_text()
    (certs / "ca-certificates.crt").write_text(bundle + certificate.read_text())
    shutil.copy(certificate, certs / "lab-ca.pem")
    name = run("openssl", "x509", "-noout", "-hash", "-in", certificate).strip()
    (certs / f"{name}.0").symlink_to("lab-ca.pem")
