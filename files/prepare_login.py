"""The automation user, its key and sudo, the host's name, and sshd without passwords.

Runs as `python3 -`. Request: {"user", "keys": [lines], "hostname" (or null), "narrow": bool,
"apply": bool}. Prints {"differs": [what was or is not as wanted]}; changes only with "apply".
"narrow" closes password and root logins: to be asked for when the key has been seen to work.
"""

import json
import os
import pwd
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

SUDOERS = Path("/etc/sudoers.d/90-vllm-fleet")
# The first value of a keyword wins, and cloud-init's own file (50-) allows passwords.
SSHD = Path("/etc/ssh/sshd_config.d/05-vllm-fleet.conf")
SSHD_TEXT = """\
# Written by spark-vllm-fleet.
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin no
"""


def run(*argv: str) -> str:
    done = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    if done.returncode:
        said = " ".join((done.stderr or done.stdout).split())
        sys.exit(f"{argv[0]}: found exit status {done.returncode}: {said[:300]}")
    return done.stdout.strip()


def write(path: Path, text: str, mode: int, check: Callable[[str], object] | None = None) -> None:
    """The whole file or none; ``check`` sees the new one before it counts."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, new = tempfile.mkstemp(dir=path.parent, prefix=".new-")
    try:
        with os.fdopen(handle, "w") as file:
            file.write(text)
            os.fchmod(file.fileno(), mode)
        if check:
            check(new)
        os.replace(new, path)
    finally:
        Path(new).unlink(missing_ok=True)


def read(path: Path) -> str:
    return path.read_text() if path.exists() else ""


def account(user: str) -> pwd.struct_passwd | None:
    try:
        return pwd.getpwnam(user)
    except KeyError:
        return None


def missing_keys(user: str, keys: list[str]) -> list[str]:
    found = account(user)
    if found is None:
        return keys
    lines = read(Path(found.pw_dir, ".ssh/authorized_keys")).splitlines()
    return [key for key in keys if key not in lines]


def add_keys(user: str, keys: list[str]) -> None:
    """Beside the keys that are there. Done as root in the user's own folder, which is new or his:
    what he may write he could point elsewhere, so a link is refused."""
    found = pwd.getpwnam(user)
    file = Path(found.pw_dir, ".ssh/authorized_keys")
    if file.is_symlink() or file.parent.is_symlink():
        sys.exit(f"{file}: found a symbolic link, wanted a file; remove it by hand")
    file.parent.mkdir(mode=0o700, exist_ok=True)
    old = read(file)
    text = old + ("" if old.endswith("\n") or not old else "\n")
    write(file, text + "".join(f"{key}\n" for key in missing_keys(user, keys)), 0o600)
    for path in (file.parent, file):
        shutil.chown(path, found.pw_uid, found.pw_gid)


def is_root(user: str) -> bool:
    found = account(user)
    return found is not None and found.pw_uid == 0


def sudo_text(user: str) -> str:
    return f"# Written by spark-vllm-fleet.\n{user} ALL=(ALL:ALL) NOPASSWD: ALL\n"


def rename(name: str) -> None:
    run("hostnamectl", "set-hostname", name)
    hosts = Path("/etc/hosts")
    kept = [x for x in read(hosts).splitlines() if not x.startswith("127.0.1.1")]
    write(hosts, "\n".join([*kept, f"127.0.1.1 {name}"]) + "\n", 0o644)


def narrowed() -> bool:
    """The file is there, and sshd has read it since."""
    if read(SSHD) != SSHD_TEXT:
        return False
    show = run("systemctl", "show", "--property=StateChangeTimestampMonotonic", "--value", "ssh")
    changed = time.time() - time.monotonic() + int(show or "0") / 1e6
    return changed > SSHD.stat().st_mtime


def narrow() -> None:
    write(SSHD, SSHD_TEXT, 0o644)
    done = subprocess.run(["sshd", "-t"], capture_output=True, text=True)
    if done.returncode:
        SSHD.unlink()
        sys.exit(f"sshd -t: found {' '.join(done.stderr.split())}; {SSHD} is taken back")
    run("systemctl", "reload", "ssh")


def steps(request: dict[str, Any]) -> dict[str, tuple[bool, Callable[[], object]]]:
    """What → whether it is as wanted, and what brings it there."""
    user, name = request["user"], request["hostname"]
    if request["narrow"] and is_root(user):  # narrow() would close this very login
        sys.exit(f"ssh_user: found {user}, allowed: a user of its own, or narrow_sshd = False")
    hold = sudo_text(user)
    found: dict[str, tuple[bool, Callable[[], object]]] = {
        f"user {user}": (
            account(user) is not None,
            lambda: run("useradd", "--create-home", "--shell", "/bin/bash", user),
        ),
        f"keys of {user}": (
            not missing_keys(user, request["keys"]),
            lambda: add_keys(user, request["keys"]),
        ),
        "sudo without a password": (
            read(SUDOERS) == hold,
            lambda: write(SUDOERS, hold, 0o440, lambda new: run("visudo", "-cqf", new)),
        ),
    }
    if name:
        is_named = read(Path("/etc/hostname")).strip() == name
        found[f"hostname {name}"] = (is_named, lambda: rename(name))
    if request["narrow"]:
        found["sshd without passwords"] = (narrowed(), narrow)
    return found


def main(request: dict[str, Any]) -> None:
    wanted = steps(request)
    differs = [what for what, (good, _) in wanted.items() if not good]
    for what in differs if request["apply"] else ():
        wanted[what][1]()
    print(json.dumps({"differs": differs}))
