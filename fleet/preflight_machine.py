"""Preflight: is this a GB10 with one of the two systems we know, and is the system sound?"""

from __future__ import annotations

import re
from typing import Literal

from fleet.host import HostSettings
from fleet.preflight_finding import UNKNOWN, Finding, check
from fleet.snapshot import Snapshot

GPU_ID = "10de:2e12"  # the GB10's GPU on PCI; partners' machines differ in DMI only
CAPABILITY = "12.1"
PYTHON = (3, 11)
HOT_C = 83  # where GB10s begin to throttle
Platform = Literal["dgx", "ubuntu", "other"]


def platform(snapshot: Snapshot) -> Platform:
    """DGX OS 7 has /etc/dgx-release on Ubuntu 24.04, also on partners' machines."""
    release = snapshot.host.os_release or {}
    if (release.get("ID"), release.get("VERSION_ID")) != ("ubuntu", "24.04"):
        return "other"
    return "dgx" if snapshot.host.dgx_release else "ubuntu"


def machine(settings: HostSettings, snapshot: Snapshot) -> list[Finding]:
    return [
        _answered(snapshot),
        _architecture(settings, snapshot),
        _platform(snapshot),
        _gpu(snapshot),
        _python(snapshot),
        _cgroup(snapshot),
        _clock(settings, snapshot),
        _swap(settings, snapshot),
        _watchdog(settings, snapshot),
        *_temperature(snapshot),
    ]


def _answered(snapshot: Snapshot) -> Finding:
    """Facts that could not be read are told one by one; a host without an answer is refused."""
    unread = "; ".join(f"{name}: {why}" for name, why in sorted(snapshot.errors.items()))
    return check(
        "facts",
        not unread,
        unread or "all read",
        wanted="all readable",
        remedy="install the program, or mend the file that it names, on the host",
        level="blocked" if "snapshot" in snapshot.errors else "warn",
    )


def _architecture(settings: HostSettings, snapshot: Snapshot) -> Finding:
    found = snapshot.host.dpkg_arch
    return check(
        "architecture",
        None if found is None else found == settings.host_arch,
        found,
        wanted=settings.host_arch,
        remedy="this is no GB10: take the host out of the inventory",
    )


def _platform(snapshot: Snapshot) -> Finding:
    release = snapshot.host.os_release
    kind = platform(snapshot)
    found = (release or {}).get("PRETTY_NAME", "no os-release")
    if kind == "dgx":
        dgx = snapshot.host.dgx_release or {}
        version = dgx.get("DGX_OTA_VERSION") or dgx.get("DGX_SWBUILD_VERSION", UNKNOWN)
        found = f"DGX OS {version} on {found}"
    return check(
        "platform",
        None if release is None else kind != "other",
        found,
        wanted="DGX OS 7, or Ubuntu 24.04",
        remedy="reinstall the host with DGX OS 7 or Ubuntu Server 24.04 for arm64",
    )


def _gpu(snapshot: Snapshot) -> Finding:
    devices = snapshot.host.pci
    ids = sorted({d.id for d in devices or () if d.id.startswith("10de:")})
    return check(
        "gpu",
        None if devices is None else GPU_ID in ids,
        ", ".join(ids) or "no NVIDIA device on PCI",
        wanted=f"{GPU_ID} (GB10) on PCI",
        remedy="take the host out of the inventory; on a GB10, power it off fully and on again",
    )


def _python(snapshot: Snapshot) -> Finding:
    found = snapshot.host.python
    numbers = re.match(r"(\d{1,4})\.(\d{1,4})", found or "", re.ASCII)
    return check(
        "python",
        tuple(map(int, numbers.groups())) >= PYTHON if numbers else None,
        found,
        wanted="3.11 or newer",
        remedy="install the distribution's python3",
    )


def _cgroup(snapshot: Snapshot) -> Finding:
    return check(
        "cgroup",
        snapshot.host.cgroup_v2,
        "not the unified hierarchy",
        wanted="cgroup v2",
        remedy="remove systemd.unified_cgroup_hierarchy=0 from the kernel command line",
    )


def _clock(settings: HostSettings, snapshot: Snapshot) -> Finding:
    return check(
        "clock",
        snapshot.host.clock_synced,
        "not synchronised",
        wanted="synchronised",
        remedy=f"{_clock_tool(settings)} tells why (UDP port 123 to its time server must be open); "
        "a wrong clock breaks TLS and signatures",
        level="warn",
    )


def _clock_tool(settings: HostSettings) -> str:
    if settings.time_sync == "timesyncd":
        return "timedatectl timesync-status"
    return "chronyc tracking, or the host's own time service,"


def _swap(settings: HostSettings, snapshot: Snapshot) -> Finding:
    found = snapshot.host.swap
    return check(
        "swap",
        None if found is None else settings.swap == "keep" or not found,
        ", ".join(found or ()),
        wanted="any" if settings.swap == "keep" else "none (swap = 'off')",
        remedy="deploy.py turns it off",
        level="warn",
    )


def _watchdog(settings: HostSettings, snapshot: Snapshot) -> Finding:
    """DGX OS's own kernel set-up answers the watchdog; plain Ubuntu's deny list keeps it off."""
    wanted = settings.watchdog_fix and platform(snapshot) == "ubuntu"
    found = snapshot.host.watchdog
    return check(
        "watchdog",
        not wanted or found == "SBSA Generic Watchdog",
        found or "no driver",
        wanted="SBSA Generic Watchdog" if wanted else "any",
        remedy="deploy.py loads sbsa_gwdt; without it firmware resets the host every 20 minutes",
        level="warn",
    )


def _temperature(snapshot: Snapshot) -> list[Finding]:
    found = (snapshot.driver.smi or {}).get("temperature.gpu")
    if found is None or not re.fullmatch(r"\d{1,3}", found, re.ASCII):
        return []
    hot = check(
        "temperature",
        int(found) < HOT_C,
        f"{found} C",
        wanted=f"below {HOT_C} C",
        remedy="give the machine air, or limit gpu_clocks_mhz",
        level="warn",
    )
    return [hot]
