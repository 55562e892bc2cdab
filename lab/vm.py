"""A virtual machine for what needs a kernel of its own, such as NFS. It has no network.

It boots Debian's kernel, runs one script as root, and ends; a minute or two, all emulated.
"""

from __future__ import annotations

import io
import subprocess
import tarfile
import tempfile
from collections.abc import Mapping
from pathlib import Path

from lab import machine
from lab.cache import artefact
from lab.command import LabError, run
from lab.roots import SUITE, mirror

PROGRAMS = {"qemu-system-x86_64": "qemu-system-x86", "mke2fs": "e2fsprogs"}
PACKAGES = (
    *("linux-image-cloud-amd64", "initramfs-tools", "systemd", "systemd-sysv", "dbus", "kmod"),
    *("python3", "udev", "iproute2", "procps", "netbase", "nfs-kernel-server", "nfs-common"),
)
SIZE = "3G"
MEMORY_MIB = 1024
CONSOLE = "/dev/ttyS0"
BEGIN, END = "<<<lab ", "lab>>>"
UNIT = f"""\
[Unit]
After=multi-user.target
[Service]
Type=oneshot
ExecStart=/bin/sh -c 'mkdir /lab; tar -xf /dev/vdb -C /lab; \
(echo "{BEGIN}"; sh /lab/run; echo "status $$? {END}") > {CONSOLE} 2>&1; poweroff --force'
[Install]
WantedBy=default.target
"""


def image() -> Path:
    """The cached folder with ``vmlinuz``, ``initrd`` and ``root.img``; about two minutes."""
    machine.install(PROGRAMS)
    return artefact("vm-amd64", [SUITE, PACKAGES, UNIT, SIZE, 2], build)


def build(out: Path) -> None:
    with tempfile.TemporaryDirectory(dir=out.parent, prefix="vm-") as name:
        root = Path(name)
        run(
            "mmdebstrap",
            *("--quiet", "--mode=root", "--variant=minbase", "--format=directory"),
            f"--include={','.join(PACKAGES)}",
            *("--dpkgopt=force-unsafe-io", '--aptopt=Acquire::Languages "none"'),
            *(SUITE, root, mirror()),
        )
        (root / "etc/fstab").write_text("")
        units = root / "etc/systemd/system"
        (units / "lab-run.service").write_text(UNIT)
        (units / "serial-getty@ttyS0.service").symlink_to("/dev/null")  # it hangs up the console
        wants = root / "etc/systemd/system/default.target.wants"
        wants.mkdir(exist_ok=True)
        (wants / "lab-run.service").symlink_to("../lab-run.service")
        for kind in ("vmlinuz", "initrd.img"):
            [found] = (root / "boot").glob(f"{kind}-*")
            (out / kind.removesuffix(".img")).write_bytes(found.read_bytes())
        run("mke2fs", "-q", "-t", "ext4", "-d", root, "-L", "root", out / "root.img", SIZE)


def script(files: Mapping[str, bytes], *, timeout: float = 600) -> str:
    """What the script ``files["run"]`` printed; the other files lie beside it in /lab.

    Raises LabError when it failed or the machine did not come so far.
    """
    where = image()
    with tempfile.TemporaryDirectory() as name:
        payload, console = Path(name, "payload.tar"), Path(name, "console")
        payload.write_bytes(packed(files))
        subprocess.run(words(where, payload, console), timeout=timeout, check=True)
        text = console.read_text(errors="replace").replace("\r", "")
    _, begun, rest = text.partition(BEGIN)
    said, ended, _ = rest.partition(END)
    if not (begun and ended) or not said.endswith("status 0 "):
        raise LabError(f"virtual machine: {(said or text)[-2000:]}")
    return said.strip()


def words(where: Path, payload: Path, console: Path) -> list[str]:
    """How the machine is started; the cached disk stays as it is."""
    kernel = "console=ttyS0 root=/dev/vda rw quiet mitigations=off"
    return [
        *("qemu-system-x86_64", "-accel", "tcg", "-cpu", "qemu64", "-smp", "2"),
        *("-m", str(MEMORY_MIB), "-nodefaults", "-display", "none", "-no-reboot"),
        *("-serial", f"file:{console}", "-append", kernel),
        *("-kernel", str(where / "vmlinuz"), "-initrd", str(where / "initrd")),
        *("-drive", f"file={where}/root.img,format=raw,if=virtio,snapshot=on"),
        *("-drive", f"file={payload},format=raw,if=virtio,readonly=on"),
    ]


def packed(files: Mapping[str, bytes]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for path, content in files.items():
            entry = tarfile.TarInfo(path)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return out.getvalue()
