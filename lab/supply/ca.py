"""The lab's certificate authority and the one server certificate that speaks for every name."""

from dataclasses import dataclass
from pathlib import Path

from lab.cache import artefact
from lab.command import run
from lab.state import CONTROL

VENDORS = (
    "developer.download.nvidia.com",
    "repo.download.nvidia.com",
    "nvidia.github.io",
    "download.docker.com",
)
HUB = ("huggingface.co", "cdn-lfs.huggingface.co", "cas-bridge.xethub.hf.co")
LAB = ("archive.lab", "registry.lab", "control.lab")
NAMES = (*VENDORS, *HUB, *LAB)
DAYS = "3650"
# Python 3.13 refuses an authority that does not say so.
AUTHORITY_USE = ("-addext", "keyUsage=critical,keyCertSign,cRLSign")
EC_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")


@dataclass(frozen=True)
class Ca:
    """Files (PEM) on the control side; ``certificate`` is what hosts must trust."""

    certificate: Path
    key: Path
    server_certificate: Path  # for NAMES and CONTROL; followed by the CA's own
    server_key: Path


def ca() -> Ca:
    """The authority of this cache, made on first use and kept: hosts bake its certificate in."""
    names = ",".join([*(f"DNS:{name}" for name in NAMES), f"IP:{CONTROL}"])
    inputs = {"names": names, "days": DAYS, "use": AUTHORITY_USE}
    place = artefact("ca", inputs, lambda out: _make(out, names))
    return Ca(place / "ca.crt", place / "ca.key", place / "server.crt", place / "server.key")


def _make(out: Path, names: str) -> None:
    """Write ca.crt, ca.key, server.crt and server.key into ``out``."""
    (out / "names.cnf").write_text(f"subjectAltName={names}\nextendedKeyUsage=serverAuth\n")
    for argv in (_authority(), _request(), _certificate()):
        run("openssl", *argv, cwd=out)
    with (out / "server.crt").open("a") as chain:
        chain.write((out / "ca.crt").read_text())
    for name in ("ca.key", "server.key"):
        (out / name).chmod(0o600)


def _authority() -> tuple[str, ...]:
    subject = "/CN=spark-vllm-fleet lab CA"
    return ("req", "-x509", *EC_KEY, "-keyout", "ca.key", "-out", "ca.crt", "-days", DAYS,
            "-subj", subject, *AUTHORITY_USE)  # fmt: skip


def _request() -> tuple[str, ...]:
    return ("req", *EC_KEY, "-keyout", "server.key", "-out", "server.csr",
            "-subj", "/CN=spark-vllm-fleet lab")  # fmt: skip


def _certificate() -> tuple[str, ...]:
    return ("x509", "-req", "-in", "server.csr", "-CA", "ca.crt", "-CAkey", "ca.key",
            "-CAcreateserial", "-days", DAYS, "-extfile", "names.cnf",
            "-out", "server.crt")  # fmt: skip
