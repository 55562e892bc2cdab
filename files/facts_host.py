"""The machine and its running system."""

import ctypes
import glob
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from facts import Errors, answer, assignments, text, text_or_none

MEMORY_FIELDS = ("MemTotal", "MemAvailable", "SwapTotal", "SwapFree", "CmaTotal", "CmaFree")
SYNCED_BELOW_US = (
    16_000_000  # the kernel's maximum error from which timedatectl says "not synchronised"
)


def dgx_release() -> dict[str, str] | None:
    found = text_or_none("/etc/dgx-release")
    if found is None:
        return None
    return {key: value for key, value in assignments(found).items() if "SERIAL" not in key}


def dmi() -> dict[str, str | None]:
    names = ("sys_vendor", "product_name", "product_family", "board_name", "bios_version")
    return {name: text_or_none(f"/sys/class/dmi/id/{name}") for name in names}


def secure_boot() -> bool:
    """The firmware's variable: four bytes of attributes, then 0 or 1. Without UEFI it is off."""
    if not os.path.isdir("/sys/firmware/efi"):
        return False
    found = glob.glob("/sys/firmware/efi/efivars/SecureBoot-*")
    return Path(found[0]).read_bytes()[-1] == 1 if found else False


def clock_synced() -> bool:
    """As timedatectl decides it; asking timedated would start it. struct timex: maxerror at 24."""
    timex = ctypes.create_string_buffer(512)
    if ctypes.CDLL(None, use_errno=True).adjtimex(timex) < 0:
        raise OSError(ctypes.get_errno(), "adjtimex")
    return int.from_bytes(timex.raw[24:32], sys.byteorder) < SYNCED_BELOW_US


def meminfo() -> dict[str, int]:
    pairs = (line.split(":") for line in text("/proc/meminfo").splitlines())
    return {key: int(value.split()[0]) for key, value in pairs if key in MEMORY_FIELDS}


def pci() -> list[dict[str, str]]:
    """NVIDIA and Mellanox devices, as lspci -n shows them."""
    return [
        {
            "slot": os.path.basename(device),
            "id": f"{text(device + '/vendor')[2:]}:{text(device + '/device')[2:]}",
            "class": text(device + "/class")[2:],
        }
        for device in sorted(glob.glob("/sys/bus/pci/devices/*"))
        if text(device + "/vendor") in ("0x10de", "0x15b3")
    ]


def sysctl(name: str) -> str | None:
    """Its one line; null when this kernel has no such sysctl."""
    found = text_or_none("/proc/sys/" + name.replace(".", "/"))
    return found.splitlines()[0] if found else found


def default_target() -> str:
    link = "/etc/systemd/system/default.target"
    return os.path.basename(
        os.path.realpath(link if os.path.lexists(link) else f"/usr/lib{link[4:]}")
    )


def host(
    errors: Errors,
    uname: subprocess.Popen[str] | None,
    dpkg: subprocess.Popen[str] | None,
    sysctls: Iterable[str],
) -> dict[str, Any]:
    facts: dict[str, Callable[[], Any]] = {
        "arch": lambda: os.uname().machine,
        "dpkg_arch": lambda: answer("dpkg", dpkg),
        "os_release": lambda: assignments(text("/etc/os-release")),
        "dgx_release": dgx_release,
        "kernel": lambda: answer("uname", uname),
        "cmdline": lambda: text("/proc/cmdline"),
        "boot_id": lambda: text("/proc/sys/kernel/random/boot_id"),
        "hostname": socket.gethostname,
        "dmi": dmi,
        "secure_boot": secure_boot,
        "cgroup_v2": lambda: os.path.exists("/sys/fs/cgroup/cgroup.controllers"),
        "clock_synced": clock_synced,
        "meminfo": meminfo,
        "swap": lambda: [line.split()[0] for line in text("/proc/swaps").splitlines()[1:]],
        "pci": pci,
        "default_target": default_target,
        "python": lambda: ".".join(map(str, sys.version_info[:3])),
        "watchdog": lambda: text_or_none("/sys/class/watchdog/watchdog0/identity"),
        "reboot_required": lambda: os.path.exists("/run/reboot-required"),
        "sysctls": lambda: {name: sysctl(name) for name in sysctls},
    }
    return {name: errors.fact(f"host.{name}", read) for name, read in facts.items()}
