"""A password reaches the host's sshd, and nobody who reads what a run says."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import paramiko
import pytest

from tests.deploys.command_line import GOOD, REPO, inventory, run, words

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


def said(folder: Path, port: int, *more: str, **data: object) -> str:
    """What bootstrap.py tells, as loudly as it can; the host breaks off when it is reached."""
    (folder / "known_hosts").touch()
    paramiko.ECDSAKey.generate().write_private_key_file(str(folder / "key"))
    (folder / "key.pub").write_text("ecdsa-sha2-nistp256 AAAA")
    ssh = {
        "ssh_strict_host_key_checking": "accept-new",
        **{"ssh_known_hosts_file": str(folder / "known_hosts"), "ssh_key": str(folder / "key")},
        "first_user": "nvidia",
    }
    known = {key: value for key, value in {**GOOD, **ssh, **data}.items() if value is not None}
    hosts = inventory(folder, port, 1, known)
    done = subprocess.run(
        words(hosts, "bootstrap.py", "--debug", *(more or ["-y"])),
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


def test_a_person_without_any_key_gets_the_first_login(tmp_path: Path, port: int) -> None:
    alone = {"ssh_key": None, "ssh_look_for_keys": False, "ssh_allow_agent": False}
    public = {"public_key": str(tmp_path / "key.pub")}
    assert "'password': '***'" in said(tmp_path, port, **alone, **public)
    told = said(tmp_path, port, **alone, **public, first_user=None)
    assert "for a first contact set first_user, and first_password_file or FLEET_FIRST_" in told


def test_a_password_file_that_others_may_read_is_refused(tmp_path: Path, port: int) -> None:
    (tmp_path / "password").write_text(PASSWORD)
    told = said(tmp_path, port, first_password_file=str(tmp_path / "password"))
    assert f"{tmp_path / 'password'}, which others may read; allowed: mode 0600" in told


@pytest.mark.parametrize(
    ("more", "said_of_it"), [((), None), (("--dry",), "accept-new"), ((), "no")]
)
def test_an_unknown_host_key_is_taken_only_where_a_person_says_so(
    tmp_path: Path, port: int, more: tuple[str, ...], said_of_it: str | None
) -> None:
    told = said(tmp_path, port, *more, ssh_strict_host_key_checking=said_of_it)
    assert "No host key for [127.0.0.1]" in told and "'***'" not in told, told
    assert (tmp_path / "known_hosts").read_text() == ""


def test_a_host_key_that_a_person_lets_it_take_is_kept(tmp_path: Path, port: int) -> None:
    said(tmp_path, port)
    assert f"[127.0.0.1]:{port} ecdsa" in (tmp_path / "known_hosts").read_text()


def test_root_is_no_login_of_ours_where_root_logins_are_closed(tmp_path: Path, port: int) -> None:
    refused = "ssh_user: found root, allowed: a user of its own, or narrow_sshd = False"
    as_root = ("-y", "--data", "ssh_user=root")
    told = said(tmp_path, port, *as_root)
    assert f"--data: {refused}" in told and "No host key" not in told, told
    assert (tmp_path / "known_hosts").read_text() == ""  # it was not connected to
    assert refused not in said(tmp_path, port, *as_root, narrow_sshd=False)
    other = run(tmp_path / "hosts.py", "status.py", *as_root, "--data", "narrow_sshd=true")
    assert refused not in other.stdout


def test_a_login_to_make_has_a_name(tmp_path: Path, port: int) -> None:
    told = said(tmp_path, port, "-y", "--data", "ssh_user=")
    assert "ssh_user: missing; allowed: the account to make" in told, told
    assert (tmp_path / "known_hosts").read_text() == ""  # it was not connected to
