"""What DGX OS holds when it leaves the factory, installed once into an overlay layer."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lab import face, overlay, services
from lab.cache import artefact, digest_of
from lab.command import run
from lab.supply import Supply, dgx, versions
from lab.supply.www import CUDA_KEYRING, release_folders

KERNEL = versions.KERNELS[2]  # DGX OS 7.5.0; the toolkit and Docker are those of its repository
HERE = "/run/factory"
OPTIONS = (
    *("-o", f"Dir::Etc::sourcelist={HERE}/sources.list", "-o", "Dir::Etc::sourceparts=/dev/null"),
    *("-o", f"Dir::Etc::preferences={HERE}/preferences"),
)
PACKAGES = (
    *("linux-nvidia-hwe-24.04", "linux-tools-nvidia-hwe-24.04"),
    *("linux-modules-nvidia-580-open-nvidia-hwe-24.04", "nvidia-driver-580-open"),
    *("nvidia-system-core", "nvidia-system-utils", "nvidia-system-extra"),
    *("docker-ce-cli", "containerd.io", "docker-buildx-plugin", "docker-compose-plugin"),
    "dgx-spark-ota-update-meta=26.04.1",
)
PREFERENCES = "".join(
    f"Package: {names}\nPin: version {version}\nPin-Priority: 1002\n\n"
    for names, version in (
        (f"linux-*nvidia-hwe-24.04 linux-*-{KERNEL.release}", KERNEL.version),
        ("libnvidia-*-580 nvidia-*-580 nvidia-*-580-open nvidia-firmware-580-*",
         f"{KERNEL.driver}-{versions.UBUNTU}"),
    )
)  # fmt: skip


def dgx_layer(root: Path, supply: Supply) -> Path:
    """An overlay layer to lie above a host's face and ``root``: packages and apt sources."""
    inputs = [str(root), str(supply.www), digest_of(face.PROGRAMS, Path(__file__))]

    def build(out: Path) -> None:
        with tempfile.TemporaryDirectory(prefix="factory-", dir=out.parent) as work:
            _install(Path(work), root, supply)
            for entry in Path(work, "upper").iterdir():
                entry.rename(out / entry.name)

    return artefact(f"dgx-{supply.arch}", inputs, build)


def _install(work: Path, root: Path, supply: Supply) -> None:
    """Fill ``work``/upper with what installing PACKAGES changes on a host of platform dgx."""
    below = work / "face"
    face.write(below, "dgx", face.variant("spark"))
    services.write(below, root, supply)
    merged = overlay.mount([below, root], work, "lab-factory")
    try:
        with _web(merged, supply):
            for words in (("update", "-qq"), ("install", "-y", "-qq", *PACKAGES)):
                env = {"PATH": os.environ["PATH"], "DEBIAN_FRONTEND": "noninteractive"}
                run("chroot", merged, "apt-get", *OPTIONS, *words, env=env)
            run("chroot", merged, "apt-get", "clean")
        _define(merged, supply)
    finally:
        overlay.unmount(work)
    for leftover in ("run", "var/lib/apt/lists"):
        shutil.rmtree(work / "upper" / leftover, ignore_errors=True)


@contextmanager
def _web(merged: Path, supply: Supply) -> Iterator[None]:
    """The web root as a directory of the host to be, with sources and pins for this once."""
    here = merged / HERE.lstrip("/")
    (here / "web").mkdir(parents=True)
    (here / "sources.list").write_text(_local_sources(supply))
    (here / "preferences").write_text(PREFERENCES)
    (here / "dgx.gpg").write_bytes(supply.keys.binary("dgx").read_bytes())
    mounts = (("--bind", supply.www, here / "web"), ("-t", "proc", "proc", merged / "proc"))
    for words in mounts:
        run("mount", *words)
    yield
    for words in mounts:
        run("umount", words[-1])


def _define(merged: Path, supply: Supply) -> None:
    folder = release_folders(supply.arch)["nvidia"]
    cuda = f"Types: deb\nURIs: https://{folder}\nSuites: /\nSigned-By: {CUDA_KEYRING}\n"
    files = {
        **dgx.definition(supply.arch, supply.keys),
        "/etc/apt/sources.list.d/cuda-compute-repo.sources": cuda.encode(),
        CUDA_KEYRING: supply.keys.binary("nvidia").read_bytes(),
    }
    for path, content in files.items():
        (merged / path.lstrip("/")).write_bytes(content)


def _local_sources(supply: Supply) -> str:
    """The repositories of DGX OS, straight from the web root, where no network is needed."""
    base = release_folders(supply.arch)["dgx"].split("/dists/")[0]
    keyring = "/usr/share/keyrings/ubuntu-archive-keyring.gpg"
    noble = versions.DISTRIBUTION
    return (
        f"deb [signed-by={keyring}] file:{HERE}/web/archive.lab/ubuntu {noble} main restricted "
        f"universe\ndeb [signed-by={HERE}/dgx.gpg] file:{HERE}/web/{base} {noble} common dgx\n"
    )
