"""NVIDIA's DGX repository (BaseOS): the bundle of sources, and what DGX OS brings by itself."""

import io
import tarfile
from pathlib import Path
from typing import TYPE_CHECKING

from lab.supply import toolkit, versions
from lab.supply.deb import EPOCH, Package, build, link_all, text
from lab.supply.repository import Identity, packages_of, suite

if TYPE_CHECKING:
    from lab.supply.www import Site

FOLDER = {"amd64": "x86_64", "arm64": "arm64"}
KEYRING = "/usr/share/keyrings/dgx-keyring.gpg"
HOST = "repo.download.nvidia.com"
PREFERENCES = "Package: *\nPin: origin repo.download.nvidia.com\nPin-Priority: 600\n"
DEPENDS = {
    "nvidia-system-core": "nvidia-spark-grub-kho",
    "nvidia-system-utils": "nv-persistence-mode, nvidia-container-toolkit",
    "nvidia-system-extra": "docker-ce, nv-docker-options",
    "nv-persistence-mode": "", "nv-docker-options": "", "nvidia-peermem-loader": "",
    "nvidia-spark-ota-check": "", "dgx-oobe": "", "dgx-dashboard": "", "nvsm": "",
    "nvidia-system-mlnx-drivers": "", "nvidia-system-station": "",
}  # fmt: skip
OTA = ("26.03.1", "26.04.1", "26.09.2")  # of dgx-spark-ota-update-meta
# What a DGX OS host has installed when it comes from the factory.
PREINSTALLED = (
    "linux-nvidia-hwe-24.04=6.17.0-1032.32",
    f"linux-modules-nvidia-580-open-nvidia-hwe-24.04={versions.KERNELS[0].modules}",
    "nvidia-system-core", "nvidia-system-utils", "nvidia-system-extra",
    "docker-ce", "docker-ce-cli", "containerd.io", "docker-buildx-plugin", "docker-compose-plugin",
    "nvidia-container-toolkit", "dgx-spark-ota-update-meta=26.04.1",
)  # fmt: skip


def repository(site: "Site", docker_debs: Path) -> None:
    """https://repo.download.nvidia.com/baseos/ubuntu/noble/<arch>: dists/noble and the bundle."""
    base = site.at(f"{HOST}/baseos/ubuntu/{versions.DISTRIBUTION}/{FOLDER[site.arch]}")
    pool = base / "pool/common"
    build(packages(site.arch), pool)
    link_all(docker_debs, pool)
    noble = versions.DISTRIBUTION
    identity = Identity("dgx", "NVIDIA", "DGX", noble, noble, "common dgx", site.arch)
    suite(base, identity, {"common": packages_of(base, "pool/common"), "dgx": ""}, site.keys)
    (base / "dgx-repo-files.tgz").write_bytes(bundle(site))


def packages(arch: str) -> list[Package]:
    """DGX metapackages by their names, the toolkit of DGX OS, the kho switch of OTA 26.09.2."""
    kho = {"/etc/default/grub.d/nvidia-spark-kho.cfg": text(
        'GRUB_CMDLINE_LINUX_DEFAULT="$GRUB_CMDLINE_LINUX_DEFAULT kho=off"\n')}  # fmt: skip
    script = {"postinst": "#!/bin/sh\nset -e\nupdate-grub\n"}
    found = [Package("nvidia-spark-grub-kho", "1.0-1", "all", "kho=off", {}, kho, script)]
    found += [Package(name, "26.04-1", "all", "DGX metapackage", {"Depends": depends})
              for name, depends in DEPENDS.items()]  # fmt: skip
    found += [Package("dgx-spark-ota-update-meta", ota, "all", "OTA level") for ota in OTA]
    return found + toolkit.packages(arch, [versions.TOOLKIT_DGX])


def bundle(site: "Site") -> bytes:
    """dgx-repo-files.tgz, to be unpacked over /: with the /baseos/8/ that leads nowhere."""
    broken = f"https://{HOST}/baseos/8/ubuntu/{versions.DISTRIBUTION}/{FOLDER[site.arch]}/"
    files = {
        "etc/apt/sources.list.d/dgx.sources": source(broken, site.arch).encode(),
        "etc/apt/preferences.d/nvidia-dgx": PREFERENCES.encode(),
        KEYRING.lstrip("/"): site.keys.binary("dgx").read_bytes(),
    }
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as tar:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size, entry.mtime = len(content), int(EPOCH)
            tar.addfile(entry, io.BytesIO(content))
    return packed.getvalue()


def source(address: str, arch: str) -> str:
    """A deb822 source of the DGX repository at ``address``."""
    return (
        f"Types: deb\nURIs: {address}\nSuites: {versions.DISTRIBUTION}\n"
        f"Components: common dgx\nArchitectures: {arch}\nSigned-By: {KEYRING}\n"
    )
