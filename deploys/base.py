"""The operating system around it: packages, clock, journal, sysctls, memory for a login."""

from __future__ import annotations

from pyinfra import host
from pyinfra.api.command import QuoteString, StringCommand
from pyinfra.api.deploy import deploy
from pyinfra.api.operation import operation

from deploys.host_state import Watch, current, forget
from deploys.operations import Commands, File, differing, refuse, tree, write_command
from deploys.packages import extra_ca, present
from deploys.units import running
from fleet import host_files, host_packages
from fleet.host_packages import installed
from fleet.preflight_machine import platform
from fleet.settings import Settings
from fleet.snapshot import Snapshot

JOURNAL = "/var/log/journal"
CA_BUNDLE = "/etc/ssl/certs/ca-certificates.crt"
TIMESYNC = "systemd-timesyncd.service"
UNITS = (
    *(TIMESYNC, "earlyoom.service", "systemd-journald.service", "swap.target"),
    *(host_files.WATCHDOG, host_files.GPU_CLOCKS, *host_files.PROTECTED),
)


def watch(settings: Settings) -> Watch:
    files = (*host_files.system(settings), *host_files.earlyoom(settings), *host_files.watchdog())
    return Watch(
        files=(*files, host_files.EXTRA_CA, CA_BUNDLE, JOURNAL),
        packages=(*host_packages.base(settings), "earlyoom"),
        units=UNITS,
        sysctls=tuple(host_files.sysctls(settings)),
    )


def files(settings: Settings, snapshot: Snapshot) -> dict[str, File]:
    """What this host gets: on DGX OS nothing that needs a package it did not bring."""
    ubuntu = platform(snapshot) == "ubuntu"
    texts = host_files.system(settings)
    if settings.memory_guard == "earlyoom" and (ubuntu or installed(snapshot, "earlyoom")):
        texts |= host_files.earlyoom(settings)
    if settings.watchdog_fix and ubuntu:
        texts |= host_files.watchdog()
    return {path: File(text) for path, text in texts.items()}


def services(settings: Settings, wanted: dict[str, File]) -> dict[str, tuple[str, ...]]:
    """The units that must run → the files they read when they start."""
    units: dict[str, tuple[str, ...]] = {"systemd-journald.service": (host_files.JOURNALD,)}
    if settings.time_sync == "timesyncd":
        units[TIMESYNC] = ()
    if host_files.EARLYOOM in wanted:
        units["earlyoom.service"] = (host_files.EARLYOOM,)
    for name in (host_files.WATCHDOG, host_files.GPU_CLOCKS):
        path = f"{host_files.UNITS}/{name}"
        if path in wanted:
            units[name] = (path,)
    return units


@operation()
def trusted(settings: Settings) -> Commands:
    """The extra authority is in the bundle that every program on the host reads."""
    now = current(settings)
    try:
        text = extra_ca(settings)
    except OSError as error:
        yield refuse(f"extra_ca: found {settings.extra_ca}, unreadable ({error.strerror})")
        return
    wanted = {host_files.EXTRA_CA: File(text)} if text else {}
    wrong = differing(now, wanted)
    bundle, found = now.files.get(CA_BUNDLE), now.files.get(host_files.EXTRA_CA)
    behind = found is None or bundle is None or bundle.mtime < found.mtime
    if not wrong and not (wanted and behind):
        host.noop("it is in the bundle")
        return
    forget()
    if wrong:
        yield write_command(wrong)
    yield StringCommand("update-ca-certificates", "--fresh")


@operation()
def settled(settings: Settings) -> Commands:
    """What runs is what the files say: sysctls, journal on disk, swap, boot target, clocks."""
    now = current(settings)
    lines = [
        *_sysctl_lines(settings, now),
        *_journal_lines(now),
        *_swap_lines(settings, now),
        *_target_lines(settings, now),
        *_clock_lines(settings, now),
    ]
    if not lines:
        host.noop("it runs as configured")
        return
    forget()
    yield from lines


def _sysctl_lines(settings: Settings, now: Snapshot) -> list[StringCommand]:
    found = now.host.sysctls or {}
    wanted = host_files.sysctls(settings).items()
    wrong = [n for n, v in wanted if (found.get(n) or "").split() != v.split()]
    return [StringCommand("sysctl", "--quiet", "--load", host_files.SYSCTLS)] if wrong else []


def _journal_lines(now: Snapshot) -> list[StringCommand]:
    """journald makes its folder by itself only when it is told to flush."""
    return [] if JOURNAL in now.files else [StringCommand("journalctl", "--flush")]


def _swap_lines(settings: Settings, now: Snapshot) -> list[StringCommand]:
    if settings.swap == "keep":
        return []
    unit = now.units.get("swap.target")
    masked = unit is not None and unit.LoadState == "masked"
    lines = [] if masked else [StringCommand("systemctl", "mask", "--quiet", "swap.target")]
    return [*lines, StringCommand("swapoff", "-a")] if now.host.swap else lines


def _target_lines(settings: Settings, now: Snapshot) -> list[StringCommand]:
    wanted = f"{settings.boot_target}.target"
    if settings.boot_target == "leave" or now.host.default_target == wanted:
        return []
    return [StringCommand("systemctl", "set-default", QuoteString(wanted))]


def _clock_lines(settings: Settings, now: Snapshot) -> list[StringCommand]:
    """Without the setting our unit goes, and its end gives the GPU its own clocks back."""
    unit = now.units.get(host_files.GPU_CLOCKS)
    if settings.gpu_clocks_mhz or unit is None or unit.LoadState != "loaded":
        return []
    return [
        StringCommand("systemctl", "disable", "--now", "--quiet", host_files.GPU_CLOCKS),
        StringCommand("rm", "-f", f"{host_files.UNITS}/{host_files.GPU_CLOCKS}"),
        StringCommand("systemctl", "daemon-reload"),
    ]


@deploy("Base")
def run(*, settings: Settings) -> None:
    now = current(settings)
    wanted = files(settings, now)
    trusted(name="Trust the extra authority", settings=settings)
    if platform(now) == "ubuntu":  # DGX OS brings its own packages
        guard = ("earlyoom",) if settings.memory_guard == "earlyoom" else ()
        packages = host_packages.base(settings) | dict.fromkeys(guard)
        present(name="Install the base packages", settings=settings, packages=packages)
    tree(
        name="Write the base configuration",
        settings=settings,
        files=wanted,
        units=tuple(u for u in UNITS if u != TIMESYNC),
    )
    running(name="Run the base services", settings=settings, units=services(settings, wanted))
    settled(name="Apply the base configuration", settings=settings)
