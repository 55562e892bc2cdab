"""The machine that hosts the lab: what it needs, and what the lab changes on it and puts back."""

import fcntl
import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from lab import overlay
from lab.command import LabError, run
from lab.paths import RUN, cache_dir
from lab.progress import step

PROGRAMS = {  # program -> Debian package
    "mmdebstrap": "mmdebstrap",
    "systemd-nspawn": "systemd-container",
    "ip": "iproute2",
    "mount": "mount",
    "ssh": "openssh-client",
    "gpg": "gnupg",
    "openssl": "openssl",
    "apt-ftparchive": "apt-utils",
    "dpkg-deb": "dpkg",
    "zstd": "zstd",
    "xz": "xz-utils",
}
TESTED = {  # what tests without a lab run beside it
    "haproxy": "haproxy",
    "docker-registry": "docker-registry",
    "promtool": "prometheus",
    "chromium": "chromium",
}
SETTINGS = {  # machine-wide; 128 is too few for systemd in many hosts
    "fs/inotify/max_user_instances": "8192",
}
FREE_GIB = 12


def problems() -> list[str]:
    """Why this machine cannot host the lab, one line each; empty if it can."""
    if os.geteuid() != 0:
        return ["the lab needs root (mounts, network namespaces): run it with sudo or as root"]
    if not shutil.which("apt-get"):
        return ["apt-get: not found; the lab runs on Debian and Ubuntu"]
    return [line for line in (cgroup_problem(), disk_problem(), overlay_problem()) if line]


def cgroup_problem() -> str:
    """Hosts are killed and frozen through cgroup v2 (Linux 5.14)."""
    for tree in (Path("/sys/fs/cgroup/unified"), Path("/sys/fs/cgroup")):
        if (tree / "cgroup.procs").exists():
            return "" if os.access(tree, os.W_OK) else f"{tree}: read-only; the lab makes cgroups"
    return "/sys/fs/cgroup: no cgroup v2 there; the lab needs it (Linux 5.14 or newer)"


def disk_problem() -> str:
    """Room for roots, packages, images and what hosts write."""
    cache_dir().mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(cache_dir()).free / 2**30
    if free >= FREE_GIB:
        return ""
    return f"{cache_dir()}: {free:.0f} GiB free, the lab needs {FREE_GIB}; set LAB_CACHE elsewhere"


def overlay_problem() -> str:
    """Whether the cache's file system can carry overlay mounts (an overlay itself cannot)."""
    with tempfile.TemporaryDirectory(dir=cache_dir(), prefix="probe-") as name:
        probe = Path(name)
        (probe / "lower").mkdir()
        try:
            overlay.mount([probe / "lower"], probe, "lab-probe")
        except LabError as error:
            return f"{cache_dir()}: no overlay mounts possible there ({error}); set LAB_CACHE"
        finally:
            overlay.unmount(probe)
    return ""


def require() -> None:
    """Install missing packages, then raise LabError unless the lab can run here."""
    if os.geteuid() == 0:
        install()
    found = problems()
    if found:
        raise LabError("; ".join(found))


def install(programs: Mapping[str, str] = PROGRAMS) -> None:
    """apt-get install what is missing; ``programs``: each with its Debian package."""
    missing = sorted(
        {package for program, package in programs.items() if not shutil.which(program)}
    )
    if not missing:
        return
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    with step(f"installing on this machine: {' '.join(missing)}"):
        run("apt-get", "update", "-qq", env=environment)
        run("apt-get", "install", "-y", "-qq", "--no-install-recommends", *missing, env=environment)


@contextmanager
def shared() -> Iterator[None]:
    """Held while changing what all labs share; the lock is on a directory, so it leaves no file."""
    handle = os.open("/run/lock", os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def tune() -> None:
    """Set what many hosts need, remembering what the first lab found."""
    found = RUN / "found.json"
    if not found.exists():
        RUN.mkdir(parents=True, exist_ok=True)
        values = {name: Path("/proc/sys", name).read_text().strip() for name in SETTINGS}
        found.write_text(json.dumps(values))
    for name, value in SETTINGS.items():
        Path("/proc/sys", name).write_text(value)


def restore() -> None:
    """After the last lab: put settings back and remove the run directory."""
    found = RUN / "found.json"
    if not RUN.is_dir() or any(child.is_dir() for child in RUN.iterdir()):
        return
    if found.exists():
        for name, value in json.loads(found.read_text()).items():
            Path("/proc/sys", name).write_text(value)
    shutil.rmtree(RUN)


if __name__ == "__main__":  # before ``make test``: side by side, tests would wait for apt's lock
    if os.geteuid() == 0 and shutil.which("apt-get"):
        install({**PROGRAMS, **TESTED})
