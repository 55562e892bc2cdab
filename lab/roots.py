"""Read-only Debian roots that all hosts of a lab stand on, built once by mmdebstrap."""

import shutil
from pathlib import Path

from lab import arm64
from lab.cache import artefact
from lab.command import LabError, run
from lab.state import SSH_USER, Arch

SUITE = "trixie"
PACKAGES = (
    *("systemd", "systemd-sysv", "systemd-timesyncd", "dbus", "libpam-systemd", "kmod", "pciutils"),
    *("openssh-server", "sudo", "ca-certificates", "curl", "gnupg", "openssl", "rsync"),
    *("iproute2", "iputils-ping", "iptables", "nftables", "ethtool", "procps", "psmisc", "less"),
    *("python3", "xz-utils", "zstd", "libseccomp2", "libdevmapper1.02.1", "libapparmor1"),
)
MASKED = (  # they only make noise, or reach for a network that is not there
    *("apt-daily.timer", "apt-daily-upgrade.timer", "e2scrub_all.timer", "e2scrub_reap.service"),
    *("fstrim.timer", "dpkg-db-backup.timer", "console-getty.service", "ldconfig.service"),
    *("systemd-journal-catalog-update.service", "systemd-update-done.service"),
    *("sys-kernel-debug.mount", "systemd-firstboot.service"),
)


def root(arch: Arch) -> Path:
    """The cached root for ``arch``: a bare Debian with sshd, sudo and the user ``fleet``.

    It is the lowest overlay layer of every host, so nobody may write to it. Packages that hosts
    install later are resolved against its ``var/lib/dpkg/status``.
    """
    return debian(arch) if arch == "amd64" else mix()


def debian(arch: Arch) -> Path:
    """A plain root of one architecture."""
    inputs = [SUITE, arch, PACKAGES, MASKED, SSH_USER, 2]
    return artefact(f"root-{SUITE}-{arch}", inputs, lambda out: build(arch, out))


def mix() -> Path:
    """An arm64 root that this machine can boot (see lab.arm64); minutes, when it is not cached."""
    native = debian("amd64")
    interpreter = emulator()
    inputs = [SUITE, str(native), PACKAGES, arm64.NATIVE, 1]

    def build_mix(out: Path) -> None:
        with arm64.emulation(interpreter):
            arm64.mixed(debian("arm64"), native, out)

    return artefact(f"root-{SUITE}-mix", inputs, build_mix)


def emulator() -> Path:
    """What runs the arm64 programs."""
    return arm64.qemu(SUITE, mirror())


def build(arch: Arch, out: Path) -> None:
    """Make a root directory at ``out`` (about 20 s for the machine's own architecture)."""
    run(
        "mmdebstrap",
        *("--quiet", "--mode=root", "--variant=minbase", "--format=directory"),
        "--skip=check/qemu",  # it looks for another name of the emulation than ours
        *(f"--architectures={arch}", f"--include={','.join(PACKAGES)}"),
        *("--dpkgopt=force-unsafe-io", '--aptopt=Acquire::Languages "none"'),
        f'--customize-hook=chroot "$1" useradd -m -s /bin/bash -G sudo,adm {SSH_USER}',
        *(SUITE, out, mirror()),
    )
    settle(out)


def settle(out: Path) -> None:
    """What every host has in common and a fresh Debian has not; no host's own keys or ids."""
    etc = out / "etc"
    for key in (etc / "ssh").glob("ssh_host_*"):
        key.unlink()
    (etc / "machine-id").write_text("")
    sudoers = etc / "sudoers.d/90-lab"
    sudoers.write_text(f"{SSH_USER} ALL=(ALL) NOPASSWD:ALL\n")
    sudoers.chmod(0o440)
    for unit in MASKED:
        link = etc / "systemd/system" / unit
        link.unlink(missing_ok=True)
        link.symlink_to("/dev/null")
    shutil.rmtree(out / "var/lib/apt/lists")
    (out / "var/lib/apt/lists/partial").mkdir(parents=True)


def mirror() -> str:
    """The address of the Debian archive that this machine's own apt uses."""
    question = ("apt-get", "indextargets", "--format", "$(REPO_URI)")
    wanted = ("Created-By: Packages", "Origin: Debian", "Label: Debian")
    if not run(*question, *wanted):
        run("apt-get", "update", "-qq")
    found = run(*question, *wanted).split()
    if not found:
        raise LabError("apt: no Debian archive in this machine's apt sources; the lab needs one")
    return found[0]
