"""Stand-ins for Ubuntu's NVIDIA kernels: they change what boots, and only a reboot shows it."""

from lab.supply import versions
from lab.supply.deb import File, Package, text
from lab.supply.driver import module_text
from lab.supply.versions import Kernel

FLAVOUR = "nvidia-hwe-24.04"
CANONICAL = "Canonical Ltd. Kernel Module Signing"
SUITES = ("image", "headers", "tools")


def ubuntu(arch: str) -> list[Package]:
    """All kernels of ``versions.KERNELS``: images, modules, prebuilt drivers, metapackages."""
    found: dict[str, Package] = {}
    for kernel in versions.KERNELS:
        for package in [*_kernel(kernel, arch), *_prebuilt(kernel, arch), *_metas(kernel, arch)]:
            found.setdefault(package.filename, package)
    return list(found.values())


def _kernel(kernel: Kernel, arch: str) -> list[Package]:
    name = kernel.release
    same = f"(= {kernel.version})"
    boot = {f"/boot/vmlinuz-{name}": text(f"lab kernel {name}\n", 0o600)}
    modules = {
        f"/lib/modules/{name}/kernel/drivers/watchdog/sbsa_gwdt.ko": _module("SBSA watchdog"),
        # Ubuntu's kernels deny the watchdog that a GB10 needs
        f"/usr/lib/modprobe.d/blacklist_linux-hwe-{name}.conf": text("blacklist sbsa_gwdt\n"),
    }
    needs = {"Depends": f"linux-modules-{name} {same}"}
    return [
        Package(f"linux-image-{name}", kernel.version, arch, "kernel", needs, boot, _boots(name)),
        Package(f"linux-modules-{name}", kernel.version, arch, "modules", files=modules),
        Package(f"linux-headers-{name}", kernel.version, arch, "headers"),
        Package(f"linux-tools-{name}", kernel.version, arch, "tools"),
    ]


def _module(about: str) -> File:
    return text(f"description:    {about}\nlicense:        GPL v2\nsigner:         {CANONICAL}\n")


def _boots(name: str) -> dict[str, str]:
    """As the real ones: initrd and boot menu are written when the package is configured."""
    made = f"#!/bin/sh\nset -e\nupdate-initramfs -c -k {name}\nupdate-grub\n"
    gone = (
        f'#!/bin/sh\nset -e\nif [ "$1" = remove ]; then\n  update-initramfs -d -k {name}\n'
        "  update-grub\nfi\n"
    )
    return {"postinst": made, "postrm": gone}


def _prebuilt(kernel: Kernel, arch: str) -> list[Package]:
    """The signed module for one kernel; it fits userspace of its own driver version only."""
    branch = kernel.driver.split(".")[0]
    name = f"linux-modules-nvidia-{branch}-open-{kernel.release}"
    common, dkms = f"nvidia-kernel-common-{branch}", f"nvidia-dkms-{branch}-open"
    relations = {
        "Depends": f"linux-image-{kernel.release}, {common} (>= {kernel.driver}), "
        f"{common} (<= {kernel.driver}-1)",
        "Provides": f"nvidia-prebuilt-kernel, {dkms} (= {kernel.driver}-{versions.UBUNTU})",
    }
    path = f"/lib/modules/{kernel.release}/kernel/nvidia-{branch}-open/nvidia.ko"
    files = {path: text(module_text(kernel.driver, CANONICAL))}
    script = f"#!/bin/sh\nset -e\nupdate-initramfs -u -k {kernel.release}\n"
    return [Package(name, kernel.modules, arch, f"driver {kernel.driver}", relations, files,
                    {"postinst": script}, section="restricted")]  # fmt: skip


def _metas(kernel: Kernel, arch: str) -> list[Package]:
    """The metapackages that follow the newest kernel unless they are pinned or held."""
    branch = kernel.driver.split(".")[0]
    driver = f"linux-modules-nvidia-{branch}-open"
    metas = {f"linux-{kind}-{FLAVOUR}": f"linux-{kind}-{kernel.release} (= {kernel.version})"
             for kind in SUITES}  # fmt: skip
    image, headers = (f"linux-{k}-{FLAVOUR} (= {kernel.version})" for k in ("image", "headers"))
    metas[f"linux-{FLAVOUR}"] = f"{image}, {headers}"
    found = [Package(n, kernel.version, arch, "newest NVIDIA kernel", {"Depends": d})
             for n, d in metas.items()]  # fmt: skip
    exact = f"{driver}-{kernel.release} (= {kernel.modules})"
    found.append(Package(f"{driver}-{FLAVOUR}", kernel.modules, arch, "driver for the newest "
                         "NVIDIA kernel", {"Depends": exact}, section="restricted"))  # fmt: skip
    return found
