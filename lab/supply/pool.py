"""Real Debian packages for hosts, fetched once through this machine's own apt configuration."""

import shutil
from collections.abc import Iterable
from pathlib import Path

from lab.cache import artefact
from lab.command import run
from lab.roots import PACKAGES as ROOT_PACKAGES
from lab.roots import SUITE, mirror
from lab.supply.repository import packages_of

KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
DOCKER_SOURCES = (
    *("docker.io", "docker-cli", "docker-compose", "docker-buildx", "containerd", "runc"),
)
# What the product may want on a host beyond the root's own packages.
EXTRAS = (
    *("iptables", "nftables", "ufw", "earlyoom", "systemd-oomd", "systemd-timesyncd"),
    *("jq", "pigz", "acl", "xz-utils", "tini", "aria2", "haproxy", "unattended-upgrades"),
    "docker-registry",
    *("apt-utils", "python3-apt", "python3-yaml", "linux-sysctl-defaults", "netplan.io"),
    *("rdma-core", "ibverbs-utils", "perftest", "infiniband-diags", "iperf3", "ethtool"),
    *("prometheus", "prometheus-node-exporter", "smartmontools", "nvme-cli", "logrotate", "cron"),
)
ALTERNATIVES = ("chrony",)  # cannot be installed beside one of the others
BASE = "?priority(required)"


def pool(arch: str) -> Path:
    """A directory with universe/*.deb, Packages (its index) and docker/*.deb (to be repacked)."""
    names = [BASE, *sorted({*ROOT_PACKAGES, *EXTRAS})]
    inputs = {"arch": arch, "suite": SUITE, "packages": [*names, *ALTERNATIVES, *DOCKER_SOURCES]}
    return artefact(f"pool-{arch}", inputs, lambda out: _fetch(out, arch, names))


def _fetch(out: Path, arch: str, names: list[str]) -> None:
    options = _private_apt(out / "apt", arch)
    run("apt-get", *options, "update", "-qq")
    for together in (names, ALTERNATIVES, DOCKER_SOURCES):
        _download(out / "universe", options, together)
    (out / "docker").mkdir()
    for name in DOCKER_SOURCES:
        deb = next((out / "universe").glob(f"{name}_*.deb"))
        deb.rename(out / "docker" / deb.name)
    shutil.rmtree(out / "apt")
    (out / "Packages").write_text(packages_of(out, "universe"))


def _download(folder: Path, options: list[str], names: Iterable[str]) -> None:
    """Fetch packages and all they need into ``folder``."""
    (folder / "partial").mkdir(parents=True, exist_ok=True)
    place = ("-o", f"Dir::Cache::archives={folder}/")
    run("apt-get", *options, *place, "install", "-d", "-y", "-qq", *names)
    shutil.rmtree(folder / "partial")


def _private_apt(state: Path, arch: str) -> list[str]:
    """Options for an apt that knows only the mirror, believes nothing is installed, and is ours."""
    for folder in ("lists/partial", "cache/archives/partial"):
        (state / folder).mkdir(parents=True)
    (state / "status").touch()
    source = state / "sources.list"
    source.write_text(f"deb [signed-by={KEYRING}] {mirror()} {SUITE} main\n")
    settings = {
        "Dir::Etc::sourcelist": source, "Dir::Etc::sourceparts": "/dev/null",
        "Dir::Etc::preferencesparts": "/dev/null", "Dir::State::lists": state / "lists",
        "Dir::State::status": state / "status", "Dir::Cache": state / "cache",
        "APT::Architecture": arch, "APT::Architectures": arch, "APT::Install-Recommends": 0,
        "Acquire::Languages": "none", "Debug::NoLocking": 1, "APT::Sandbox::User": "root",
    }  # fmt: skip
    return [part for key, value in settings.items() for part in ("-o", f"{key}={value}")]
