"""NVIDIA's DGX repository (BaseOS): the bundle of sources, and what DGX OS brings by itself."""

import io
import tarfile
from pathlib import Path

from lab.supply import toolkit, versions
from lab.supply.deb import EPOCH, Package, build, link_all, text
from lab.supply.keys import Keys
from lab.supply.repository import Identity, Site, packages_of, suite

FOLDER = {"amd64": "x86_64", "arm64": "arm64"}
KEYRING = "/usr/share/keyrings/dgx-keyring.gpg"
HOST = "repo.download.nvidia.com"
PREFERENCES = "Package: *\nPin: origin repo.download.nvidia.com\nPin-Priority: 600\n"
DEPENDS = {
    "nvidia-system-core": "",
    "nvidia-system-utils": "nv-persistence-mode, nvidia-container-toolkit",
    "nvidia-system-extra": "docker-ce, nv-docker-options",
    "nv-persistence-mode": "", "nv-docker-options": "", "nvidia-peermem-loader": "",
    "nvidia-spark-ota-check": "", "dgx-oobe": "", "dgx-dashboard": "", "nvsm": "",
    "nvidia-system-mlnx-drivers": "", "nvidia-system-station": "",
}  # fmt: skip
# Of dgx-spark-ota-update-meta -> what it brings.
OTA = {"26.03.1": "", "26.04.1": "", "26.09.2": "nvidia-spark-grub-kho"}


def repository(site: Site, docker_debs: Path) -> None:
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
    found += [Package("dgx-spark-ota-update-meta", ota, "all", "OTA level", {"Depends": needs})
              for ota, needs in OTA.items()]  # fmt: skip
    return found + toolkit.packages(arch, [versions.TOOLKIT_DGX])


def bundle(site: Site) -> bytes:
    """dgx-repo-files.tgz, to be unpacked over /: with the /baseos/8/ that leads nowhere."""
    files = definition(site.arch, site.keys, "baseos/8")
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as tar:
        for name, content in files.items():
            entry = tarfile.TarInfo(name.lstrip("/"))
            entry.size, entry.mtime = len(content), int(EPOCH)
            tar.addfile(entry, io.BytesIO(content))
    return packed.getvalue()


def definition(arch: str, keys: Keys, top: str = "baseos") -> dict[str, bytes]:
    """The files that define the repository on a host: path -> content."""
    address = f"https://{HOST}/{top}/ubuntu/{versions.DISTRIBUTION}/{FOLDER[arch]}/"
    source = (
        f"Types: deb\nURIs: {address}\nSuites: {versions.DISTRIBUTION}\n"
        f"Components: common dgx\nArchitectures: {arch}\nSigned-By: {KEYRING}\n"
    )
    return {
        "/etc/apt/sources.list.d/dgx.sources": source.encode(),
        "/etc/apt/preferences.d/nvidia-dgx": PREFERENCES.encode(),
        KEYRING: keys.binary("dgx").read_bytes(),
    }
