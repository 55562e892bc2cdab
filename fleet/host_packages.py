"""Which packages the host half is about, and at which versions they are wanted."""

from __future__ import annotations

import re

from fleet.host import NEEDED, HostSettings
from fleet.snapshot import Snapshot

TOOLKIT = (
    "nvidia-container-toolkit",
    "nvidia-container-toolkit-base",
    "libnvidia-container-tools",
    "libnvidia-container1",
)
# Debian's, Ubuntu's and Canonical's own Docker: each conflicts with docker-ce or with the toolkit.
CONFLICTING = (
    *("docker.io", "docker-compose", "docker-compose-v2", "docker-doc", "podman-docker"),
    *("containerd", "runc"),
)
TOOLKIT_MINIMUM = "1.18.0"  # the first that keeps the CDI spec fresh by itself
DOCKER_MINIMUM = "28.2.0"  # the first with CDI on by default (github.com/moby/moby pull 49963)


def numbers(version: str) -> tuple[int, ...]:
    """The numbers of an upstream version, without a Debian epoch: fit for comparing."""
    return tuple(int(n) for n in re.findall(r"\d+", version.split(":", 1)[-1]))


def base(settings: HostSettings) -> dict[str, None]:
    """What every host has, at whatever version: what a person wants, and what the steps need."""
    return dict.fromkeys((*NEEDED, *settings.base_packages))


def kernel(settings: HostSettings) -> dict[str, str]:
    """The kernel's packages on plain Ubuntu. Its headers and image follow by exact dependency."""
    return {"linux-nvidia-hwe-24.04": settings.kernel_version}


def driver(settings: HostSettings) -> dict[str, str]:
    """The open driver on plain Ubuntu, with the module that Canonical built and signed for it.

    Only Ubuntu's own build (-0ubuntu…) goes with that module. NVIDIA's (-1ubuntu1) is compiled on
    the host by DKMS, which under Secure Boot needs a person to enrol a key.
    """
    branch = settings.driver_branch
    return {
        f"linux-modules-nvidia-{branch}-open-nvidia-hwe-24.04": settings.kernel_modules_version,
        f"nvidia-driver-{branch}-open": f"{settings.driver_version}-0ubuntu*",
    }


def pinning(settings: HostSettings) -> str:
    """NVIDIA's package that keeps apt on the branch."""
    return f"nvidia-driver-pinning-{settings.driver_branch}"


def toolkit(settings: HostSettings) -> dict[str, str]:
    """All four at one version: the first depends on equal versions of the others."""
    return dict.fromkeys(TOOLKIT, settings.toolkit_version)


def docker(settings: HostSettings) -> dict[str, str]:
    return {
        "docker-ce": settings.docker_version,
        "docker-ce-cli": settings.docker_version,
        "containerd.io": settings.containerd_version,
        "docker-compose-plugin": settings.compose_version,
    }


def pins(settings: HostSettings) -> dict[str, str]:
    """Every pinned package of plain Ubuntu → its version (a trailing ``*`` matches any rest)."""
    return kernel(settings) | driver(settings) | toolkit(settings) | docker(settings)


def to_hold(settings: HostSettings) -> tuple[str, ...]:
    """What must not move by itself, on either platform, where it is installed."""
    hwe = ("image", "headers", "tools")
    more = (*(f"linux-{part}-nvidia-hwe-24.04" for part in hwe), "docker-buildx-plugin")
    return (*pins(settings), *more)


def is_version(found: str, wanted: str) -> bool:
    """Equal, or alike up to a trailing ``*``."""
    return found.startswith(wanted[:-1]) if wanted.endswith("*") else found == wanted


def installed(snapshot: Snapshot, name: str) -> str | None:
    """The version of a package that is fully installed."""
    package = snapshot.packages.get(name)
    return package.version if package and package.status == "installed" else None


def differing(snapshot: Snapshot, wanted: dict[str, str]) -> dict[str, str]:
    """Installed packages that are not at their pin → the version found."""
    found = {name: installed(snapshot, name) for name in wanted}
    return {n: v for n, v in found.items() if v is not None and not is_version(v, wanted[n])}


def missing(snapshot: Snapshot, wanted: dict[str, str]) -> dict[str, str]:
    """The pins of packages that are not installed."""
    return {n: v for n, v in wanted.items() if installed(snapshot, n) is None}
