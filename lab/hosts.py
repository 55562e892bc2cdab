"""One simulated host: systemd-nspawn on an overlay root, in a cgroup and namespace of its own."""

import os
import shutil
import subprocess
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from lab import cgroup, overlay
from lab.command import LabError, run
from lab.network import NAMED, host_netns, inside
from lab.state import CONTROL, SSH_USER, LabHost, State

NSPAWN = Path("/run/systemd/nspawn")
BOOT_S = 120.0
LOGIN_S = 30.0
REBOOT = 133  # nspawn's exit status when a host started with --keep-unit reboots
DISKS = ("docker", "containerd")  # below /var/lib: image layers cannot lie on an overlay
LOOP = 'for g in $1; do echo $$ > "$g"; done; shift; while "$@"; [ $? = {reboot} ]; do :; done'


def home(state: State, host: LabHost) -> Path:
    """Everything the host writes."""
    return state.disk / host.name


def prepare(state: State, host: LabHost, layers: Sequence[Path], names: Sequence[str]) -> None:
    """A fresh disk for the host: the layers, and what makes it itself (name, ids, keys).

    ``names`` are the host names that lead to the control side.
    """
    own = home(state, host)
    for disk in DISKS:
        (own / disk).mkdir(parents=True, exist_ok=True)
    root = overlay.mount(list(layers), own, f"lab-{state.name}-{host.name}")
    etc = root / "etc"
    (etc / "hostname").write_text(f"{host.name}\n")
    (etc / "machine-id").write_text(f"{os.urandom(16).hex()}\n")
    (etc / "hosts").write_text(hosts_file(state, host, names))
    (etc / "resolv.conf").unlink(missing_ok=True)
    (etc / "resolv.conf").write_text("# the lab has no name server\n")
    install_keys(state, host, root)


def hosts_file(state: State, host: LabHost, names: Sequence[str]) -> str:
    """/etc/hosts: itself, the other hosts, and every name that leads to the control side."""
    lines = [
        "127.0.0.1 localhost",
        f"127.0.1.1 {host.name}",
        f"{CONTROL} {' '.join(['control', *names])}",
    ]
    lines += [f"{other.address} {other.name}" for other in state.hosts]
    return "\n".join(lines) + "\n"


def install_keys(state: State, host: LabHost, root: Path) -> None:
    """The host's own key, the same over its resets, and the lab's key for the user ``fleet``."""
    for suffix in ("", ".pub"):
        target = root / f"etc/ssh/ssh_host_ed25519_key{suffix}"
        shutil.copy(host_key(state, host).with_suffix(suffix), target)
    (root / "etc/ssh/ssh_host_ed25519_key").chmod(0o600)
    ssh = root / f"home/{SSH_USER}/.ssh"
    ssh.mkdir(mode=0o700, exist_ok=True)
    keys = ssh / "authorized_keys"
    keys.write_text(state.ssh_key.with_suffix(".pub").read_text())
    keys.chmod(0o600)
    owner = ssh.parent.stat()
    for path in (ssh, keys):
        os.chown(path, owner.st_uid, owner.st_gid)


def host_key(state: State, host: LabHost) -> Path:
    """The host's private SSH key on the control side; made when missing."""
    key = state.run / "hostkeys" / host.name
    if not key.exists():
        make_key(key, host.name)
    return key


def make_key(path: Path, comment: str) -> None:
    """A new ed25519 key pair: ``path`` and ``path``.pub."""
    path.parent.mkdir(parents=True, exist_ok=True)
    run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", comment, "-f", path)


def start(state: State, host: LabHost) -> None:
    """Switch the host on; a loop starts it again after each of its reboots."""
    if running(state, host):
        raise LabError(f"{host.name}: is running already")
    groups = cgroup.create(state.name, host.name)
    enter = " ".join(str(group / "cgroup.procs") for group in groups)
    loop = ["/bin/sh", "-c", LOOP.format(reboot=REBOOT), f"lab-{host.name}", enter]
    environment = {
        "PATH": os.environ["PATH"],
        "SYSTEMD_NSPAWN_UNIFIED_HIERARCHY": "1",  # pure cgroup v2 inside, as on a real host
        "SYSTEMD_NSPAWN_API_VFS_WRITABLE": "network",  # dockerd sets ip_forward
    }
    with console(state, host).open("ab") as log:
        power = subprocess.Popen(
            [*loop, *nspawn(state, host)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env=environment,
            start_new_session=True,
        )
    while not running(state, host) and power.poll() is None:
        time.sleep(0.01)


def nspawn(state: State, host: LabHost) -> list[str]:
    """The command that boots the host once. Capabilities and system calls are what Docker needs."""
    own, netns = home(state, host), host_netns(state, host)
    return [
        *(
            "systemd-nspawn",
            "--quiet",
            "--boot",
            "--register=no",
            "--keep-unit",
            "--console=read-only",
        ),
        *("--resolv-conf=off", "--timezone=off", "--link-journal=no"),
        *(f"--machine={netns}", f"--hostname={host.name}"),
        *(f"--directory={own / 'root'}", f"--network-namespace-path={NAMED / netns}"),
        *("--capability=all", "--drop-capability=CAP_SYS_TIME"),  # the clock is the machine's
        "--system-call-filter=add_key keyctl bpf perf_event_open adjtimex clock_adjtime",
        *(f"--bind={own / disk}:/var/lib/{disk}" for disk in DISKS),
    ]


def console(state: State, host: LabHost) -> Path:
    """What the host wrote to its console."""
    return state.run / f"{host.name}.console"


def running(state: State, host: LabHost) -> bool:
    """Whether the host's power is on."""
    return bool(cgroup.pids(state.name, host.name))


def wait(state: State, host: LabHost, seconds: float = BOOT_S) -> None:
    """Wait until ``fleet`` can log in; LabError with the end of the console if it never can."""
    end = time.monotonic() + seconds
    while not answers(state, host):
        if time.monotonic() > end or not running(state, host):
            said = last_words(console(state, host).read_text(errors="replace"))
            raise LabError(f"{host.name}: does not come up; its console ends with: {said}")
        time.sleep(0.05)


def last_words(text: str) -> str:
    """The line of a console that tells most: a panic, else the last but for systemd-nspawn's."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    lines = [line for line in lines if not line.startswith("Attempted to remove disk file system")]
    panics = [line for line in lines if "Kernel panic" in line]
    return (panics or lines or ["nothing"])[-1]


def answers(state: State, host: LabHost) -> bool:
    """Whether a login works now."""
    with inside(state.netns), suppress(subprocess.TimeoutExpired):
        words = [*ssh(state, host), "true"]
        return subprocess.run(words, capture_output=True, timeout=LOGIN_S).returncode == 0
    return False


def ssh(state: State, host: LabHost) -> list[str]:
    """The ssh command to the host, to be run in the lab's network namespace; the key is strict."""
    options = {
        "IdentityFile": state.ssh_key,
        "IdentitiesOnly": "yes",
        "UserKnownHostsFile": state.known_hosts,
        "StrictHostKeyChecking": "yes",
        "BatchMode": "yes",
        "ConnectTimeout": 4,
        "ServerAliveInterval": 5,
        "ServerAliveCountMax": 3,
        "LogLevel": "ERROR",
    }
    words = [f"-o{key}={value}" for key, value in options.items()]
    return ["ssh", "-F", "none", *words, f"{SSH_USER}@{host.address}"]


def kill(state: State, host: LabHost) -> None:
    """Cut the host's power: everything in it dies at once, what it wrote stays."""
    cgroup.kill(state.name, host.name)


def discard(state: State, host: LabHost) -> None:
    """Cut the power and throw the host's disk away."""
    kill(state, host)
    unlock(home(state, host))
    overlay.unmount(home(state, host))
    shutil.rmtree(home(state, host))
    console(state, host).unlink(missing_ok=True)


def unlock(own: Path) -> None:
    """Remove the lock that a killed systemd-nspawn leaves, named by the root's inode."""
    root = own / "root"
    if root.is_dir():
        found = root.stat()
        lock = NSPAWN / f"locks/inode-{found.st_dev}:{found.st_ino}"
        lock.unlink(missing_ok=True)


def clear_nspawn(state: State) -> None:
    """What systemd-nspawn leaves in /run when it is killed; its directories once they are empty."""
    for path in NSPAWN.glob(f"*/{state.netns}-*"):
        shutil.rmtree(path)
    for directory in (*NSPAWN.glob("*"), NSPAWN):
        if directory.is_dir() and not any(directory.iterdir()):
            directory.rmdir()


def reboot(state: State, host: LabHost) -> None:
    """Reboot from within, as ``systemctl reboot`` does, and wait for a login in the new boot."""
    before = boot_id(state, host)
    execute(state, host, "sudo systemctl reboot", check=False)  # the connection may break
    end = time.monotonic() + BOOT_S
    while boot_id(state, host) in (before, ""):
        if time.monotonic() > end:
            raise LabError(f"{host.name}: is not back {BOOT_S:g} s after its reboot")
        time.sleep(0.1)


def boot_id(state: State, host: LabHost) -> str:
    """The id of the host's current boot; empty when it does not answer."""
    return execute(state, host, "cat /proc/sys/kernel/random/boot_id", check=False).strip()


def execute(state: State, host: LabHost, command: str, check: bool = True) -> str:
    """Run a shell command on the host as ``fleet`` and return its standard output."""
    with inside(state.netns):
        return run(*ssh(state, host), command, check=check)


def freeze(state: State, host: LabHost) -> None:
    """Stop the whole host where it stands."""
    cgroup.freeze(state.name, host.name, frozen=True)


def thaw(state: State, host: LabHost) -> None:
    """Let it go on."""
    cgroup.freeze(state.name, host.name, frozen=False)
