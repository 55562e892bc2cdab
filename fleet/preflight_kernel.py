"""Preflight: the kernel that runs and the one that boots next."""

from __future__ import annotations

from fleet.host import HostSettings
from fleet.known_bad import KnownBad, Level, listed
from fleet.preflight_driver import (
    INSTALLS,
    driver_version,
    reboot_reasons,
    rebooting,
    wanted_kernel,
    wanted_parameters,
)
from fleet.preflight_finding import Finding, check
from fleet.preflight_machine import platform
from fleet.snapshot import Snapshot


def kernel(settings: HostSettings, snapshot: Snapshot) -> list[Finding]:
    return [
        _running(settings, snapshot),
        _initrd(snapshot),
        *_known_bad(settings, snapshot),
    ]


def _running(settings: HostSettings, snapshot: Snapshot) -> Finding:
    found, wanted = snapshot.host.kernel, wanted_kernel(settings, snapshot)
    mends, remedy = rebooting(settings, snapshot)
    if wanted is not None and wanted not in snapshot.kernels.installed:
        mends, remedy = platform(snapshot) == "ubuntu", INSTALLS
    return check(
        "kernel",
        None if found is None or wanted is None else found == wanted,
        found,
        wanted=wanted or "GRUB's default entry",
        remedy=remedy,
        level="warn" if mends or wanted is None else "blocked",
    )


def _initrd(snapshot: Snapshot) -> Finding:
    entry = snapshot.kernels.boot_default
    size = snapshot.kernels.initrd_bytes.get(entry or "")
    return check(
        "initrd",
        None if entry is None else bool(size),
        f"/boot/initrd.img-{entry} is missing or empty",
        wanted="an initrd for the kernel that boots next",
        remedy=f"update-initramfs -c -k {entry}; do not reboot before"
        if entry
        else "check /boot/grub/grub.cfg",
        level="blocked" if entry else "warn",
    )


def _known_bad(settings: HostSettings, snapshot: Snapshot) -> list[Finding]:
    """What boots has a name of its own: upgrade.py mends what runs, and would reboot into it."""
    now = _listed(settings, snapshot, snapshot.host.kernel, snapshot.host.cmdline)
    found = [_finding("known bad", level, bad) for level, bad in now]
    later = [x for x in _listed_at_boot(settings, snapshot) if x not in now]
    return [
        *(found or [Finding("known bad", "ready", "kernel and driver are not on the list")]),
        *(_finding("known bad at boot", level, bad) for level, bad in later),
    ]


def _finding(name: str, level: Level, bad: KnownBad) -> Finding:
    return Finding(name, level, bad.what, f"not on the known-bad list ({bad.source})", bad.remedy)


def _listed_at_boot(settings: HostSettings, snapshot: Snapshot) -> list[tuple[Level, KnownBad]]:
    """Of what a reboot that is due would load."""
    entry = snapshot.kernels.boot_default
    if not reboot_reasons(settings, snapshot) or entry != wanted_kernel(settings, snapshot):
        return []  # it stays as it runs, or another kernel is made the default first
    brought = " ".join(wanted_parameters(settings, snapshot))
    return _listed(settings, snapshot, entry, f"{snapshot.kernels.boot_cmdline or ''} {brought}")


def _listed(
    settings: HostSettings, snapshot: Snapshot, kernel: str | None, words: str | None
) -> list[tuple[Level, KnownBad]]:
    return listed(kernel, driver_version(snapshot), words, in_replica=bool(settings.replica))
