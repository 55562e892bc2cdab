"""First contact: from the vendor's account with a password to our own user with its key."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from lab.testing import REPO, Done, Lab
from tests.lab.host_half_support import NO_IMAGE, changes

HOST = "spark-01"
PASSWORD = "first $ecret"
INVENTORY = """\
from lab.inventory import spark as _hosts

spark = [
    (name, {**data, "ssh_user": "robot", "ssh_key": KEY, "ssh_known_hosts_file": KNOWN,
            "ssh_strict_host_key_checking": "accept-new", "first_user": "nvidia"})
    for name, data in _hosts
]
"""


@pytest.fixture(scope="module")
def place(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A factory-fresh host, our key, and an inventory; no host key is known."""
    folder = tmp_path_factory.mktemp("bootstrap")
    words = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / "key")]
    subprocess.run(words, check=True)
    head = f'KEY = "{folder / "key"}"\nKNOWN = "{folder / "known_hosts"}"\n'
    (folder / "vendor.py").write_text(head + INVENTORY)
    (folder / "known_hosts").touch()
    lab.run(HOST, f"useradd -m -s /bin/bash -G sudo nvidia && echo 'nvidia:{PASSWORD}' | chpasswd")
    lab.run(HOST, "rm -f /etc/ssh/sshd_config.d/*-lab.conf && systemctl reload ssh")
    lab.run(HOST, "hostnamectl set-hostname spark-a1b2")
    return folder


def bootstrap(lab: Lab, place: Path, password: str | None, *more: str) -> Done:
    environment = {**os.environ, "LAB_NAME": lab.state.name}
    if password is not None:
        environment["FLEET_FIRST_PASSWORD"] = password
    group_data = str(REPO / "lab" / "group_data")
    words = [str(place / "vendor.py"), "bootstrap.py", "-y", "--group-data", group_data, *more]
    data = ["--data", f"vllm_image={NO_IMAGE}", "--limit", HOST]
    return subprocess.run(
        [sys.executable, "-m", "pyinfra", *words, *data],
        cwd=REPO,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        stdin=subprocess.DEVNULL,
        text=True,
        timeout=300,
    )


def login(lab: Lab, place: Path, user: str, *options: str) -> Done:
    words = ["ssh", "-o", "BatchMode=yes", "-o", f"UserKnownHostsFile={place / 'known_hosts'}"]
    address = lab.state.host(HOST).address
    return lab.control(*words, *options, f"{user}@{address}", "sudo -n id -un")


def test_without_a_password_it_says_what_to_set(lab: Lab, place: Path) -> None:
    done = bootstrap(lab, place, None)
    assert done.returncode != 0
    assert "FLEET_FIRST_PASSWORD" in done.stdout and "Traceback" not in done.stdout


def test_a_wrong_password_changes_nothing(lab: Lab, place: Path) -> None:
    done = bootstrap(lab, place, "wrong")
    assert done.returncode != 0
    assert "Traceback" not in done.stdout, done.stdout
    assert lab.run(HOST, "id robot", check=False).returncode != 0


def test_first_contact_makes_our_user_and_closes_passwords(lab: Lab, place: Path) -> None:
    done = bootstrap(lab, place, PASSWORD)
    assert done.returncode == 0, done.stdout
    assert PASSWORD not in done.stdout
    assert login(lab, place, "robot", "-i", str(place / "key")).stdout.strip() == "root"
    assert "password" not in login(lab, place, "nvidia").stderr
    assert lab.text(HOST, "hostname") == HOST
    assert "passwordauthentication no" in lab.text(HOST, "sshd -T")
    address = lab.state.host(HOST).address
    assert address in (place / "known_hosts").read_text()


def test_a_second_run_needs_no_password_and_changes_nothing(lab: Lab, place: Path) -> None:
    done = bootstrap(lab, place, None)
    assert done.returncode == 0, done.stdout
    assert changes(done.stdout) == 0, done.stdout


def test_a_key_that_is_not_the_hosts_is_refused(lab: Lab, place: Path) -> None:
    known = place / "known_hosts"
    kept = known.read_text()
    kind, body = (Path(f"{place / 'key'}.pub").read_text().split())[:2]
    known.write_text(f"{lab.state.host(HOST).address} {kind} {body}\n")
    done = bootstrap(lab, place, PASSWORD)
    known.write_text(kept)
    assert done.returncode != 0
    assert "Traceback" not in done.stdout, done.stdout
