"""Preflight: the driver, loaded against wanted, and whether the next boot is wanted and safe."""

from __future__ import annotations

import layout

from fleet import host_packages
from fleet.host import HostSettings
from fleet.host_packages import numbers
from fleet.known_bad import listed
from fleet.preflight_finding import UNKNOWN, Finding, check
from fleet.preflight_machine import CAPABILITY, platform
from fleet.snapshot import Snapshot

OPEN_LICENSE = "Dual MIT/GPL"
CANONICAL = "Canonical"
INSTALLS = "deploy.py installs it and reboots the host (allow_reboot)"


def driver(settings: HostSettings, snapshot: Snapshot) -> list[Finding]:
    if not snapshot.driver.loaded and platform(snapshot) == "ubuntu" and not _installed(snapshot):
        return [Finding("driver", "warn", "none", settings.driver_version, INSTALLS)]
    return [
        _loaded(settings, snapshot),
        _version(settings, snapshot),
        _open(snapshot),
        _capability(snapshot),
        _persistence(snapshot),
        *_signature(settings, snapshot),
    ]


def serves(snapshot: Snapshot) -> bool:
    """One of our containers runs; while Docker does not tell, whether vllm.service is not down:
    with live-restore a server goes on answering without its daemon."""
    if snapshot.docker.error or {"docker", "docker.containers"} & set(snapshot.errors):
        unit = snapshot.units.get(layout.UNIT)
        return unit is not None and unit.ActiveState not in ("inactive", "failed")
    ours = (c for c in snapshot.docker.containers if "vllm-fleet.release" in c.labels)
    return any(container.state == "running" for container in ours)


def wanted_kernel(settings: HostSettings, snapshot: Snapshot) -> str | None:
    """Plain Ubuntu: the pin. DGX OS: what its boot loader starts; its own updates decide."""
    if platform(snapshot) == "ubuntu":
        return settings.kernel_release
    return snapshot.kernels.boot_default


def wanted_parameters(settings: HostSettings, snapshot: Snapshot) -> tuple[str, ...]:
    """Words the kernel command line must have; DGX OS brings its own."""
    if platform(snapshot) != "ubuntu":
        return ()
    handover = ("kho=off",) if settings.kernel_release.startswith("7.") else ()
    return (*settings.kernel_parameters, *handover)


def reboot_reasons(settings: HostSettings, snapshot: Snapshot) -> list[str]:
    """Why the loaded state is not what a reboot would load; empty when no reboot is needed."""
    running, wanted = snapshot.host.kernel, wanted_kernel(settings, snapshot)
    loaded, installed = snapshot.driver.loaded, snapshot.driver.installed
    reasons = []
    if wanted in snapshot.kernels.installed and running != wanted:
        reasons.append(f"kernel {running or UNKNOWN} runs, {wanted} is installed")
    if installed and loaded != installed:
        reasons.append(f"driver {loaded or 'none'} is loaded, {installed} is installed")
    if lacking := _parameters_after_boot(settings, snapshot):
        reasons.append(f"kernel command line lacks {' '.join(lacking)}")
    return reasons


def boot_problems(settings: HostSettings, snapshot: Snapshot) -> list[str]:
    """Why a reboot might not come back, or not with what is wanted."""
    entry, wanted = snapshot.kernels.boot_default, wanted_kernel(settings, snapshot)
    if entry is None:
        return ["GRUB's default entry is unknown; check /boot/grub/grub.cfg"]
    problems = []
    if not snapshot.kernels.initrd_bytes.get(entry):
        problems.append(
            f"/boot/initrd.img-{entry} is missing or empty; make it: update-initramfs -c -k {entry}"
        )
    if wanted in snapshot.kernels.installed and entry != wanted:
        problems.append(f"GRUB would boot {entry}, wanted {wanted}; check /etc/default/grub")
    words = snapshot.kernels.boot_cmdline
    bad = listed(entry, driver_version(snapshot), words, in_replica=bool(settings.replica))
    problems += [f"{known.what}; {known.remedy}" for level, known in bad if level == "blocked"]
    return problems


def _parameters_after_boot(settings: HostSettings, snapshot: Snapshot) -> list[str]:
    """Wanted words that the boot entry has and the running kernel has not."""
    now = (snapshot.host.cmdline or "").split()
    entry = (snapshot.kernels.boot_cmdline or "").split()
    return [w for w in wanted_parameters(settings, snapshot) if w in entry and w not in now]


def driver_version(snapshot: Snapshot) -> str | None:
    """What a boot would load."""
    return snapshot.driver.installed or snapshot.driver.loaded


def _installed(snapshot: Snapshot) -> bool:
    return snapshot.driver.installed is not None


def rebooting(settings: HostSettings, snapshot: Snapshot) -> tuple[bool, str]:
    """Whether deploy.py will mend it by a reboot; else what a person has to do."""
    if serves(snapshot):
        return False, "the host serves: move it with upgrade.py, in its wave"
    if not settings.allow_reboot:
        return False, "set allow_reboot = True, or reboot the host by hand"
    return True, "deploy.py reboots the host"


def _loaded(settings: HostSettings, snapshot: Snapshot) -> Finding:
    now = snapshot.driver
    mends, remedy = rebooting(settings, snapshot)
    if not now.installed:
        mends, remedy = False, _no_module(settings, snapshot)
    return check(
        "driver loaded",
        bool(now.loaded) and now.loaded == now.installed,
        f"{now.loaded or 'none'} loaded, {now.installed or 'none'} installed",
        wanted="loaded = installed",
        remedy=remedy,
        level="warn" if mends else "blocked",
    )


def _no_module(settings: HostSettings, snapshot: Snapshot) -> str:
    """What to do where modinfo finds nothing for the running kernel."""
    if platform(snapshot) == "dgx":
        return "install the driver of DGX OS again, or mend its kernel module"
    packages = " ".join(host_packages.driver(settings))
    return f"apt-get install --reinstall {packages}; modinfo nvidia must find the module"


def _version(settings: HostSettings, snapshot: Snapshot) -> Finding:
    """The branch always; the pin on plain Ubuntu, the minimum on DGX OS, which updates itself."""
    found = driver_version(snapshot)
    ubuntu = platform(snapshot) == "ubuntu"
    wanted = settings.driver_version if ubuntu else settings.driver_minimum
    branch = f"{settings.driver_branch}."
    good = None if found is None else found.startswith(branch)
    if good and found:
        good = found == wanted if ubuntu else numbers(found) >= numbers(wanted)
    return check(
        "driver version",
        good,
        found,
        wanted=wanted if ubuntu else f"{wanted} or newer, branch {settings.driver_branch}",
        remedy="set driver_version to it, or move the host with upgrade.py"
        if ubuntu
        else f"update DGX OS, and keep it on branch {settings.driver_branch}",
    )


def _open(snapshot: Snapshot) -> Finding:
    found = snapshot.driver.license
    return check(
        "driver modules",
        None if found is None else found == OPEN_LICENSE,
        f"license {found}",
        wanted=f"open modules (license {OPEN_LICENSE})",
        remedy="Blackwell needs the open modules: install the -open driver packages",
    )


def _capability(snapshot: Snapshot) -> Finding:
    smi = snapshot.driver.smi
    found = (smi or {}).get("compute_cap")
    failing = snapshot.driver.smi_error
    reboot = bool(snapshot.driver.installed) and snapshot.driver.loaded != snapshot.driver.installed
    return check(
        "compute capability",
        False if failing else None if found is None else found == CAPABILITY,
        failing or f"{found} ({(smi or {}).get('name')})",
        wanted=f"{CAPABILITY} (GB10)",
        remedy="a reboot loads the driver" if reboot else "nvidia-smi on the host tells more",
        level="warn" if reboot else "blocked",
    )


def _persistence(snapshot: Snapshot) -> Finding:
    found = (snapshot.driver.smi or {}).get("persistence_mode")
    return check(
        "persistence mode",
        None if found is None else found == "Enabled",
        found,
        wanted="Enabled",
        remedy="deploy.py starts nvidia-persistenced",
        level="warn",
    )


def _signature(settings: HostSettings, snapshot: Snapshot) -> list[Finding]:
    """Under Secure Boot a module that Canonical did not sign needs a key enrolled by a person."""
    if snapshot.host.secure_boot is False:
        return []
    signer = snapshot.driver.signer
    signed = snapshot.driver.loaded is not None or CANONICAL in (signer or "")
    return [
        check(
            "secure boot",
            None if snapshot.host.secure_boot is None else signed,
            f"on, module signed by {signer or 'nobody'}",
            wanted="off, or a module signed by Canonical",
            remedy="use Ubuntu's prebuilt modules; a DKMS module needs a person at the console "
            "to enrol its key (MOK)",
            level="blocked" if settings.secure_boot_dkms == "refuse" else "warn",
        )
    ]
