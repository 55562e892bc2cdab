"""The face of a GB10: files that make a Debian host read as Ubuntu 24.04 or DGX OS 7 on a Spark.

`lab/host/` holds the programs that show them (see lab/README.md); this module writes the data.
"""

import shutil
import struct
from dataclasses import dataclass
from pathlib import Path

from lab.command import LabError
from lab.state import Platform

PROGRAMS = Path(__file__).parent / "host"
GENERIC_KERNEL = "6.17.0-14-generic"  # Ubuntu 24.04's own HWE kernel, before NVIDIA's is installed
UBUNTU = {
    "PRETTY_NAME": "Ubuntu 24.04.3 LTS",
    "NAME": "Ubuntu",
    "VERSION_ID": "24.04",
    "VERSION": "24.04.3 LTS (Noble Numbat)",
    "VERSION_CODENAME": "noble",
    "ID": "ubuntu",
    "ID_LIKE": "debian",
    "UBUNTU_CODENAME": "noble",
}
LSB = {
    "DISTRIB_ID": "Ubuntu",
    "DISTRIB_RELEASE": "24.04",
    "DISTRIB_CODENAME": "noble",
    "DISTRIB_DESCRIPTION": "Ubuntu 24.04.3 LTS",
}
EFI_SECURE_BOOT = "SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c"
COMMAND_LINE = "pcie_port_pm=off initcall_blacklist=tegra234_cbb_init pci=pcie_bus_safe"


@dataclass(frozen=True)
class Variant:
    """Whose machine it is: what /sys/class/dmi/id and /etc/dgx-release say."""

    vendor: str
    product: str
    board: str
    family: str
    bios: str
    dgx_platform: str


VARIANTS = {
    "spark": Variant(
        "NVIDIA", "NVIDIA_DGX_Spark", "P4242", "DGX Spark", "5.36_0ACUM018", "DGX Spark"
    ),
    "gx10": Variant(
        "ASUSTeK COMPUTER INC.", "GX10", "GX10", "Ascent", "GX10DGX.0104.2026.0306", "GX10"
    ),
}


def variant(name: str) -> Variant:
    """The variant called ``name``, or LabError naming those there are."""
    if name not in VARIANTS:
        raise LabError(f"--variant: found {name!r}, allowed: {', '.join(VARIANTS)}")
    return VARIANTS[name]


def write(layer: Path, platform: Platform, who: Variant) -> None:
    """Fill ``layer``, an overlay layer for a host's root, with the face and the lab's programs."""
    shutil.copytree(PROGRAMS, layer, symlinks=True, dirs_exist_ok=True)
    sysinit = layer / "etc/systemd/system/sysinit.target.wants"
    sysinit.mkdir(parents=True)
    (sysinit / "lab-face.service").symlink_to("../lab-face.service")
    write_release(layer, platform, who)
    write_firmware(layer / "usr/lib/lab/face/sys", who)
    write_generic_kernel(layer)


def write_release(layer: Path, platform: Platform, who: Variant) -> None:
    """os-release and lsb-release of Ubuntu 24.04; dgx-release only on DGX OS."""
    put(layer / "usr/lib/os-release", assignments(UBUNTU))
    put(layer / "etc/lsb-release", assignments(LSB))
    if platform == "dgx":
        put(layer / "etc/dgx-release", assignments(dgx_release(who)))


def dgx_release(who: Variant) -> dict[str, str]:
    """What DGX OS writes; a partner's machine differs in DGX_PLATFORM only."""
    return {
        "DGX_NAME": "DGX Spark",
        "DGX_PRETTY_NAME": "NVIDIA DGX Spark",
        "DGX_SWBUILD_DATE": "2025-09-10-13-50-03",
        "DGX_SWBUILD_VERSION": "7.2.3",
        "DGX_PLATFORM": who.dgx_platform,
        "DGX_OTA_VERSION": "7.5.0",
    }


def write_firmware(sys: Path, who: Variant) -> None:
    """The GPU on PCI, the DMI strings and the Secure Boot variable, laid out as below /sys."""
    device = sys / "bus/pci/devices/000f:01:00.0"
    for name in ("drivers", "slots"):
        (sys / "bus/pci" / name).mkdir(parents=True)
    for name, text in pci_attributes().items():
        put(device / name, text + "\n")
    (device / "config").write_bytes(pci_config())
    for name, text in dmi(who).items():
        put(sys / "class/dmi/id" / name, text + "\n")
    put(sys / "module/.lab", "")
    efi = sys / f"firmware/efi/efivars/{EFI_SECURE_BOOT}"
    put(efi, "")
    efi.write_bytes(b"\x06\x00\x00\x00\x01")  # four bytes of attributes, then: enabled


def pci_attributes() -> dict[str, str]:
    """What sysfs shows of the GB10's GPU."""
    return {
        "vendor": "0x10de",
        "device": "0x2e12",
        "class": "0x030000",
        "revision": "0xa1",
        "irq": "0",
        "subsystem_vendor": "0x10de",
        "subsystem_device": "0x0000",
        "resource": "\n".join(["0x0000000000000000 0x0000000000000000 0x0000000000000000"] * 13),
    }


def pci_config() -> bytes:
    """256 bytes of configuration space: 10de:2e12, a display controller."""
    head = struct.pack("<HHHHBBBB", 0x10DE, 0x2E12, 0x0006, 0x0010, 0xA1, 0, 0, 3)
    return head.ljust(256, b"\0")


def dmi(who: Variant) -> dict[str, str]:
    """Firmware strings, by file name below /sys/class/dmi/id."""
    return {
        "sys_vendor": who.vendor,
        "product_name": who.product,
        "product_family": who.family,
        "board_name": who.board,
        "board_vendor": who.vendor,
        "bios_version": who.bios,
        "chassis_type": "3",
    }


def write_generic_kernel(layer: Path) -> None:
    """The kernel that Ubuntu's installer leaves: image, initrd, watchdog module, boot entry."""
    put(layer / f"boot/vmlinuz-{GENERIC_KERNEL}", "lab kernel\n")
    put(layer / f"boot/initrd.img-{GENERIC_KERNEL}", "lab initrd\n")
    watchdog = f"lib/modules/{GENERIC_KERNEL}/kernel/drivers/watchdog/sbsa_gwdt.ko"
    put(layer / "usr" / watchdog, "license:        GPL v2\n")
    put(layer / "etc/default/grub", f'GRUB_DEFAULT=0\nGRUB_CMDLINE_LINUX="{COMMAND_LINE}"\n')
    entry = f"root=/dev/mapper/ubuntu--vg-ubuntu--lv ro {COMMAND_LINE}"
    put(
        layer / "boot/grub/grub.cfg",
        f'set default="{GENERIC_KERNEL}"\n'
        f"menuentry 'Ubuntu, with Linux {GENERIC_KERNEL}' {{\n"
        f"\tlinux /boot/vmlinuz-{GENERIC_KERNEL} {entry}\n"
        f"\tinitrd /boot/initrd.img-{GENERIC_KERNEL}\n}}\n",
    )


def assignments(values: dict[str, str]) -> str:
    """KEY="value" lines."""
    return "".join(f'{key}="{value}"\n' for key, value in values.items())


def put(path: Path, text: str) -> None:
    """Write a file and the directories above it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
