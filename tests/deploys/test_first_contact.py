"""A password reaches the host's sshd, and nobody who reads what a run says."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import paramiko
import pytest

from tests.deploys.command_line import GOOD, REPO, inventory, words

PASSWORD = "first-$ecret-7fQ2"


@pytest.fixture
def port() -> Iterator[int]:
    """A host that knows the vendor's password only."""
    server = (sys.executable, "-m", "tests.deploys.ssh_server", "--hang-up")
    process = subprocess.Popen(server, cwd=REPO, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    yield int(process.stdout.readline())
    process.kill()
    process.communicate()


def said(folder: Path, port: int, **data: object) -> str:
    """What bootstrap.py tells, as loudly as it can; the host breaks off when it is reached."""
    (folder / "known_hosts").touch()
    paramiko.ECDSAKey.generate().write_private_key_file(str(folder / "key"))
    ssh = {
        **{"ssh_known_hosts_file": str(folder / "known_hosts"), "ssh_key": str(folder / "key")},
        "first_user": "nvidia",
    }
    done = subprocess.run(
        words(inventory(folder, port, 1, {**GOOD, **ssh, **data}), "bootstrap.py", "-y", "--debug"),
        cwd=REPO,
        env={**os.environ, "FLEET_FIRST_PASSWORD": PASSWORD},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=120,
    )
    assert done.returncode != 0 and PASSWORD not in done.stdout, done.stdout
    return done.stdout


def test_the_password_is_not_in_what_pyinfra_tells_of_its_arguments(
    tmp_path: Path, port: int
) -> None:
    assert "'password': '***'" in said(tmp_path, port)


def test_a_password_file_that_others_may_read_is_refused(tmp_path: Path, port: int) -> None:
    (tmp_path / "password").write_text(PASSWORD)
    told = said(tmp_path, port, first_password_file=str(tmp_path / "password"))
    assert f"{tmp_path / 'password'}, which others may read; allowed: mode 0600" in told
