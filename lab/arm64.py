"""Hosts with arm64 userland on this machine: real arm64 packages, run through qemu-user.

systemd, sshd, sudo and what speaks netlink stay the machine's own architecture, as the same Debian
versions' binaries: qemu-user cannot do their namespaces and sockets, and boots take a second.
dpkg, apt, the shell and Python are arm64; ``uname -m`` says aarch64. The kernel is not emulated.
"""

import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lab.cache import artefact
from lab.command import run

BINFMT = Path("/proc/sys/fs/binfmt_misc")
PREFIX = "vllm-lab"  # of our entries there; each user of emulation has its own
QEMU = "qemu-aarch64"
MAGIC = r"\x7fELF\x02\x01\x01" + r"\x00" * 9 + r"\x02\x00\xb7\x00"
MASK = r"\xff" * 7 + r"\x00" + r"\xff" * 8 + r"\xfe\xff\xff\xff"
FLAGS = "POF"  # keep argv[0], pass an open file, load the interpreter now
LIBRARIES = "usr/lib/x86_64-linux-gnu"
NATIVE = (
    *("systemd", "systemd-sysv", "systemd-timesyncd", "libpam-systemd", "udev", "kmod", "sudo"),
    *("dbus", "dbus-daemon", "dbus-bin", "openssh-server", "openssh-sftp-server", "openssh-client"),
    *("iproute2", "iptables", "nftables", "iputils-ping", "ethtool", "procps", "util-linux"),
    *("mount", "login", "passwd"),
)


def qemu(suite: str, mirror: str) -> Path:
    """A static qemu-aarch64 of ``suite``; Debian 12's own is too old for systemd 257."""

    def build(out: Path) -> None:
        with tempfile.TemporaryDirectory(dir=out.parent) as work:
            run(
                *("mmdebstrap", "--quiet", "--mode=root", "--variant=extract"),
                *("--format=directory", "--include=qemu-user", suite, work, mirror),
            )
            shutil.copy2(Path(work, "usr/bin", QEMU), out / QEMU)

    return artefact("qemu-user", [suite, QEMU], build) / QEMU


@contextmanager
def emulation(interpreter: Path) -> Iterator[None]:
    """arm64 programs run here for a while."""
    user = f"{PREFIX}-build-{os.getpid()}"
    enable(interpreter, user)
    try:
        yield
    finally:
        disable(user)


def enable(interpreter: Path, user: str) -> None:
    """Let the kernel run arm64 programs, until ``disable(user)``."""
    if not (BINFMT / "register").exists():
        run("mount", "-t", "binfmt_misc", PREFIX, BINFMT)
    if not (BINFMT / user).exists():
        line = f":{user}:M::{MAGIC}:{MASK}:{interpreter}:{FLAGS}"
        (BINFMT / "register").write_text(line)


def disable(user: str) -> None:
    """Take the entry back; with the last of ours also the mount, if it was ours."""
    if (BINFMT / user).exists():
        (BINFMT / user).write_text("-1")
    if mounted_by_us() and not any(BINFMT.glob(f"{PREFIX}-*")):
        run("umount", BINFMT)


def mounted_by_us() -> bool:
    """Whether binfmt_misc was mounted by a lab, not by the machine itself."""
    lines = Path("/proc/self/mounts").read_text().splitlines()
    return any(line.split()[:2] == [PREFIX, str(BINFMT)] for line in lines)


def mixed(arm: Path, native: Path, out: Path) -> None:
    """Fill ``out`` with ``arm``, the programs of NATIVE taken from ``native``.

    Both are roots of the same suite, built from the same package list.
    """
    run("cp", "-a", f"{arm}/.", out)
    run("cp", "-a", native / LIBRARIES, out / "usr/lib/")
    run("cp", "-a", native / "usr/lib64", out / "usr/")
    (out / "lib64").unlink(missing_ok=True)
    (out / "lib64").symlink_to("usr/lib64")
    for file in native_programs(native):
        run("cp", "-a", "--remove-destination", native / file, out / file)


def native_programs(native: Path) -> list[str]:
    """ELF files of the packages NATIVE, relative to the root, without its libraries."""
    found = []
    for package in NATIVE:
        for listing in sorted((native / "var/lib/dpkg/info").glob(f"{package}.list")):
            found += [line.lstrip("/") for line in listing.read_text().splitlines()]
    return [file for file in found if is_program(native, file)]


def is_program(native: Path, file: str) -> bool:
    """A regular ELF file that lies outside the architecture's own library directory."""
    path = native / file
    if re.match(rf"({LIBRARIES}|lib/x86_64)", file) or path.is_symlink() or not path.is_file():
        return False
    with path.open("rb") as content:
        return content.read(4) == b"\x7fELF"
