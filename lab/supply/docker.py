"""Docker's packages: Debian's real binaries under the vendor's names, versions and layout.

The programs are real (dockerd, containerd, runc, compose); only the labels are the vendor's, so
`docker version` says Debian's version and dpkg the vendor's. On arm64 hosts the binaries stay this
machine's own architecture (their userland is emulated, their kernel is not).
"""

import re
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path

from lab.cache import artefact, digest_of
from lab.command import run
from lab.supply.deb import pack
from lab.supply.standin import standin
from lab.supply.versions import DOCKER, DOCKER_DGX, DOCKER_NEWER, Docker

NAMES = {
    "docker.io": "docker-ce", "docker-cli": "docker-ce-cli", "containerd": "containerd.io",
    "docker-compose": "docker-compose-plugin", "docker-buildx": "docker-buildx-plugin",
    "runc": "containerd.io",
}  # fmt: skip
LABELS = {"stable": (DOCKER, DOCKER_NEWER), "dgx": (DOCKER_DGX,)}
FOREIGN = ("Built-Using", "Static-Built-Using", "Breaks", "Conflicts", "Replaces", "Recommends",
           "Suggests", "Enhances", "Provides", "Source", "Homepage")  # fmt: skip


def repacked(debian: Path, arch: str) -> Path:
    """A directory with stable/*.deb (Docker's own repository) and dgx/*.deb (of DGX OS)."""
    here = Path(__file__)
    inputs = [arch, str(debian), LABELS, digest_of(here, here.parent / "standins/runc")]

    def build(out: Path) -> None:
        for folder, labels in LABELS.items():
            repack(debian, out / folder, arch, labels)

    return artefact(f"docker-{arch}", inputs, build)


def repack(debian: Path, out: Path, arch: str, labels: tuple[Docker, ...]) -> None:
    """Write the five packages into ``out``, once for each set of versions in ``labels``."""
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out) as work:
        trees = {name: _unpack(debian, name, Path(work)) for name in NAMES if name != "runc"}
        _bring_runc(debian, trees["containerd"], Path(work))
        link = trees["docker.io"] / "usr/bin/dockerd"  # where the vendor has it
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to("/usr/sbin/dockerd")
        originals = {name: _control(tree).read_text() for name, tree in trees.items()}
        for label in labels:
            for name, tree in trees.items():
                version = _version(name, label)
                _control(tree).write_text(_rewritten(originals[name], name, version, arch))
                file = f"{NAMES[name]}_{version.split(':')[-1]}_{arch}.deb"
                pack(tree, out / file, "-Zzstd", "-z1")


def _unpack(debian: Path, name: str, work: Path) -> Path:
    deb = next(debian.glob(f"{name}_*.deb"))
    run("dpkg-deb", "-R", deb, work / name)
    return work / name


def _bring_runc(debian: Path, containerd: Path, work: Path) -> None:
    """containerd.io carries runc; ours is a wrapper around it (see standins/runc)."""
    source = _unpack(debian, "runc", work) / "usr/sbin/runc"
    (containerd / "usr/lib/lab").mkdir(parents=True)
    shutil.copy2(source, containerd / "usr/lib/lab/runc")
    wrapper = containerd / "usr/bin/runc"
    wrapper.write_text(standin("runc"))
    wrapper.chmod(0o755)


def _control(tree: Path) -> Path:
    return tree / "DEBIAN/control"


def _version(name: str, label: Docker) -> str:
    parts: Mapping[str, str] = {"docker.io": label.engine, "docker-cli": label.engine,
                                "containerd": label.containerd, "docker-compose": label.compose,
                                "docker-buildx": label.buildx}  # fmt: skip
    return parts[name]


def _rewritten(control: str, name: str, version: str, arch: str) -> str:
    """The control file with the vendor's names; renamed packages need renamed packages."""
    for key in FOREIGN:
        control = re.sub(rf"(?m)^{key}:.*\n( .*\n)*", "", control)
    new = {"Package": NAMES[name], "Version": version, "Architecture": arch}
    for key, value in new.items():
        control = re.sub(rf"(?m)^{key}:.*", f"{key}: {value}", control)
    control = re.sub(r"(?m)^Depends: (.*)$", lambda m: _depends(m[1], name), control)
    others = f"{name}, runc" if name == "containerd" else name
    return control.rstrip("\n") + f"\nConflicts: {others}\nReplaces: {others}\n"


def _depends(text: str, name: str) -> str:
    wanted = [item.strip() for item in text.split(",")]
    wanted = [NAMES.get(item.split()[0], item) for item in wanted]
    extra = ["docker-ce-cli", "libseccomp2"] if name == "docker.io" else []
    kept = [item for item in dict.fromkeys([*wanted, *extra]) if item != NAMES[name]]
    return "Depends: " + ", ".join(kept)
