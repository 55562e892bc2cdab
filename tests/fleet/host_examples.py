"""Snapshots that tests of the preflight start from: a host that is ready, and how to differ."""

from __future__ import annotations

from typing import Any

from fleet.snapshot import Snapshot
from tests.fleet.examples import DATA

GIB = 1 << 30
PINS = {
    "linux-nvidia-hwe-24.04": "6.17.0-1032.32",
    "linux-modules-nvidia-580-open-nvidia-hwe-24.04": "6.17.0-1032.32",
    "nvidia-driver-580-open": "580.159.03-0ubuntu0.24.04.1",
    "nvidia-container-toolkit": "1.20.0-1",
    "docker-ce": DATA["docker_version"],
    "docker-compose-plugin": DATA["compose_version"],
}
READY: dict[str, Any] = {
    "host": {
        "arch": "aarch64",
        "dpkg_arch": "arm64",
        "os_release": {"ID": "ubuntu", "VERSION_ID": "24.04", "PRETTY_NAME": "Ubuntu 24.04.3 LTS"},
        "kernel": "6.17.0-1032-nvidia",
        "cmdline": "ro pcie_port_pm=off initcall_blacklist=tegra234_cbb_init pci=pcie_bus_safe",
        "boot_id": "1",
        "dmi": {"product_name": "NVIDIA_DGX_Spark", "bios_version": "5.36"},
        "secure_boot": True,
        "cgroup_v2": True,
        "clock_synced": True,
        "meminfo": {"MemTotal": 127 << 20, "MemAvailable": 118 << 20},
        "swap": [],
        "pci": [{"slot": "000f:01:00.0", "id": "10de:2e12", "class": "030000"}],
        "python": "3.12.3",
        "watchdog": "SBSA Generic Watchdog",
    },
    "kernels": {
        "installed": ["6.17.0-1032-nvidia", "6.17.0-14-generic"],
        "initrd_bytes": {"6.17.0-1032-nvidia": 70_000_000},
        "boot_default": "6.17.0-1032-nvidia",
        "boot_cmdline": "ro pcie_port_pm=off initcall_blacklist=tegra234_cbb_init "
        "pci=pcie_bus_safe",
    },
    "driver": {
        "loaded": "580.159.03",
        "installed": "580.159.03",
        "license": "Dual MIT/GPL",
        "signer": "Canonical Ltd. Kernel Module Signing",
        "smi": {
            "name": "NVIDIA GB10",
            "compute_cap": "12.1",
            "persistence_mode": "Enabled",
            "memory.total": None,
            "temperature.gpu": "41",
        },
    },
    "packages": {
        name: {"version": version, "status": "installed", "hold": True}
        for name, version in PINS.items()
    },
    "docker": {"version": "29.8.0"},
    "disk": {
        "/srv/models/hub": {"free": 3000 * GIB, "total": 4000 * GIB},
        "/var/lib/docker": {"free": 3000 * GIB, "total": 4000 * GIB},
    },
}
DGX = {"DGX_NAME": "DGX Spark", "DGX_SWBUILD_VERSION": "7.2.3", "DGX_OTA_VERSION": "7.5.0"}


def changed(*path: str, value: object, of: dict[str, Any] = READY) -> dict[str, Any]:
    """A copy of ``of`` with the value at ``path`` replaced."""
    head, *rest = path
    inner = changed(*rest, value=value, of=of.get(head) or {}) if rest else value
    return {**of, head: inner}


def snapshot(*path: str, value: object = None, of: dict[str, Any] = READY) -> Snapshot:
    """A ready host's snapshot, differing at ``path``."""
    return Snapshot.model_validate(changed(*path, value=value, of=of) if path else of)


def on_dgx(*path: str, value: object = None) -> Snapshot:
    return snapshot(*path, value=value, of=changed("host", "dgx_release", value=DGX))
