"""The root under both images: Debian bookworm's Python 3.11 and hardly anything else.

Packages are unpacked, not configured, so a foreign architecture needs no emulation.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from lab import roots
from lab.cache import artefact
from lab.command import run
from lab.content import oci
from lab.state import Arch

SUITE = "bookworm"
PYTHON = "3.11"
PACKAGES = (
    *(f"python{PYTHON}", f"libpython{PYTHON}-stdlib", "ca-certificates", "dash", "busybox-static"),
    *("libgomp1", "libstdc++6", "libnuma1", "util-linux", "zlib1g"),  # lscpu: vLLM asks it
)
LEFT_OUT = ("usr/share/doc", "usr/share/man", "usr/share/locale", "usr/share/info", "var", "dev")
EMPTY = (
    *("proc", "sys", "dev", "mnt", "run", "tmp", "root", "var/tmp"),
    *("etc/ssl/certs", "usr/local/bin"),
)
BUNDLE = "etc/ssl/certs/ca-certificates.crt"
APPLETS = (
    *(
        "cat",
        "cp",
        "df",
        "du",
        "env",
        "find",
        "free",
        "grep",
        "head",
        "hostname",
        "id",
        "ip",
        "kill",
    ),
    *("ls", "mkdir", "mv", "nc", "netstat", "ps", "rm", "sed", "sleep", "sort", "stat", "tail"),
    *("tar", "top", "touch", "tr", "uname", "vi", "wc", "wget", "which", "xargs"),
)


def base(arch: Arch) -> Path:
    """The cached base of ``arch``: ``root/`` as a directory, and its layer beside it."""
    inputs = [SUITE, PYTHON, PACKAGES, LEFT_OUT, EMPTY, APPLETS, arch, oci.LAYER, 3]
    return artefact(f"image-base-{arch}", inputs, lambda out: build(arch, out))


def build(arch: Arch, out: Path) -> None:
    """Make root/ and pack it (about 15 s)."""
    root = out / "root"
    run(
        "mmdebstrap",
        *("--quiet", "--mode=root", "--variant=extract", "--format=directory"),
        "--skip=check/qemu",
        *(f"--architectures={arch}", f"--include={','.join(PACKAGES)}"),
        *("--dpkgopt=force-unsafe-io", '--aptopt=Acquire::Languages "none"'),
        *(SUITE, root, roots.mirror()),
    )
    settle(root)
    compile_stdlib(root)
    oci.pack(root, out)


def settle(root: Path) -> None:
    """Drop what containers do not need and do what the packages' own scripts would have done."""
    for name in LEFT_OUT:
        shutil.rmtree(root / name, ignore_errors=True)
    for name in EMPTY:
        (root / name).mkdir(parents=True, exist_ok=True)
    (root / "tmp").chmod(0o1777)
    (root / "usr/bin/python3").symlink_to(f"python{PYTHON}")
    for applet in APPLETS:
        if not any((root / place / applet).exists() for place in ("bin", "usr/bin", "sbin")):
            (root / "bin" / applet).symlink_to("busybox")
    (root / "usr/bin/env").symlink_to("/bin/busybox")
    (root / "etc/passwd").write_text("root:x:0:0:root:/root:/bin/sh\n")
    (root / "etc/group").write_text("root:x:0:\n")
    certificates = sorted((root / "usr/share/ca-certificates").rglob("*.crt"))
    (root / BUNDLE).write_text("".join(each.read_text() for each in certificates))


def compile_stdlib(root: Path) -> None:
    """Byte code of the standard library; a shared base of this machine's own kind makes it."""
    python = root if runs_here(root) else base(native()) / "root"
    compile_all(python, root, f"usr/lib/python{PYTHON}")


def compile_all(python: Path, root: Path, folder: str) -> None:
    """Byte code for a folder of ``root`` that is valid whatever the files' times are.

    -B: what this run left of its own imports would count as done already.
    """
    compiler = [f"/usr/bin/python{PYTHON}", "-B", "-m", "compileall", "-q"]
    words = ["--invalidation-mode", "unchecked-hash", "-s", "/mnt", "-p", "/", "-x", "/test/"]
    shared = () if python == root else ("--read-only",)
    inside(python, *compiler, *words, f"/mnt/{folder}", options=(*shared, f"--bind={root}:/mnt"))


def native() -> Arch:
    """The architecture of this machine."""
    return "amd64" if os.uname().machine == "x86_64" else "arm64"


def runs_here(root: Path) -> bool:
    """Whether this machine can run the programs of ``root``."""
    loaders = {"amd64": "lib64/ld-linux-x86-64.so.2", "arm64": "lib/ld-linux-aarch64.so.1"}
    return (root / loaders[native()]).exists()


def inside(root: Path, *argv: str, options: tuple[str, ...] = ()) -> str:
    """Run a program in ``root``, without a network; returns its standard output."""
    return run(
        "systemd-nspawn",
        *("--quiet", "--register=no", "--keep-unit", "--as-pid2", "--private-network"),
        *("--resolv-conf=off", "--timezone=off", "--link-journal=no", "--console=pipe"),
        *(f"--directory={root}", *options),
        *argv,
    )
