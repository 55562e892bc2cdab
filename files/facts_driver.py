"""Kernels that could boot, and the NVIDIA driver: loaded, on disk, and as nvidia-smi sees it."""

import glob
import os
import re
import subprocess
from typing import Any

from facts import assignments, finish, text_or_none

SMI_FIELDS = (
    *("name", "driver_version", "compute_cap", "memory.total", "persistence_mode", "pci.bus_id"),
    *("pstate", "clocks.sm", "clocks.max.sm", "temperature.gpu", "power.draw"),
)
SMI_UNKNOWN = {"[N/A]", "N/A", "[Not Supported]", "Not Supported", "[Unknown Error]", ""}


def kernels() -> dict[str, Any]:
    """What could boot: kernels in /boot, each initrd's size, and GRUB's default entry."""
    installed = sorted(path.split("vmlinuz-")[1] for path in glob.glob("/boot/vmlinuz-*"))
    initrds = {name: f"/boot/initrd.img-{name}" for name in installed}
    grub = text_or_none("/boot/grub/grub.cfg") or ""
    default, cmdline = boot_entry(grub, saved_entry())
    return {
        "installed": installed,
        "initrd_bytes": {n: os.path.getsize(p) for n, p in initrds.items() if os.path.exists(p)},
        "boot_default": default,
        "boot_cmdline": cmdline,
    }


def saved_entry() -> str:
    return assignments(text_or_none("/boot/grub/grubenv") or "").get("saved_entry", "")


def boot_entry(grub: str, saved: str) -> tuple[str | None, str | None]:
    """Kernel and command line of the entry that `set default` names: by number ("0" is the newest,
    "1>2" the third of the submenu) or by a title or id that has the kernel's name in it. A kernel's
    recovery entry has fewer words, and is meant only where it is named."""
    entries = re.findall(r"^\s*linux\s+\S*vmlinuz-(\S+)(.*)$", grub, re.MULTILINE)
    names = re.findall(r"^\s*set default=\"([^\"]*)\"", grub, re.MULTILINE)
    chosen = [n for n in names if not n.startswith("${")][-1:] or [saved or "0"]
    if any(n == "${saved_entry}" for n in names) and saved:
        chosen = [saved]
    title = chosen[0]
    if re.fullmatch(r"\d+(>\d+)?", title):
        number = int(title.split(">")[1]) + 1 if ">" in title else int(title)
        found = entries[number : number + 1]
    else:
        recovers = "recovery" in title
        named = [e for e in entries if e[0] in title and ("recovery" in e[1].split()) == recovers]
        found = sorted(named, key=lambda e: -len(e[0]))[:1]
    return (found[0][0], found[0][1].strip()) if found else (None, None)


def smi(process: subprocess.Popen[str] | None) -> tuple[dict[str, str | None] | None, str | None]:
    """The first GPU's fields ([N/A] and the like are null) and, if there are none, why."""
    if process is None:
        return None, "nvidia-smi is not installed"
    status, said = finish(process)
    values = [value.strip() for value in said.split("\n")[0].split(",")]
    if status or len(values) != len(SMI_FIELDS):
        return None, said[:300] or f"nvidia-smi ended with {status}"
    return {
        field: None if value in SMI_UNKNOWN else value
        for field, value in zip(SMI_FIELDS, values, strict=True)
    }, None


def loaded_version(told: str) -> str | None:
    """From "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.159.04  Release Build"."""
    found = re.search(r"NVRM version:.*?\s(\d+\.\d+(?:\.\d+)?)\s", told + " ")
    return found[1] if found else None


def driver(
    modinfo: subprocess.Popen[str] | None, query: subprocess.Popen[str] | None
) -> dict[str, Any]:
    """The loaded module, the one on disk for the running kernel, and what nvidia-smi says."""
    loaded = loaded_version(text_or_none("/proc/driver/nvidia/version") or "")
    status, said = finish(modinfo) if modinfo else (127, "")
    fields = dict(re.findall(r"^(\w+):\s+(.*)$", said, re.MULTILINE)) if status == 0 else {}
    fields_smi, smi_error = smi(query)
    return {
        "loaded": loaded or text_or_none("/sys/module/nvidia/version"),
        "installed": fields.get("version"),
        "license": fields.get("license"),
        "signer": fields.get("signer"),
        "smi": fields_smi,
        "smi_error": smi_error,
    }
