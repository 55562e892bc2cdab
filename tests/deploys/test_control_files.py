"""Files that settings name and nobody can read are told before the first connection."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.deploys.command_line import GOOD, inventory, port, run

OPEN = {"listen": "0.0.0.0"}
NONE = "No such file or directory"


def told(folder: Path, deploy: str, data: dict[str, object]) -> list[str]:
    """The lines of a run that is refused; it has contacted nobody."""
    with port() as listener:
        done = run(inventory(folder, listener.number, data={**GOOD, **data}), deploy, "-y")
        assert (done.returncode, listener.seen) == (1, []), done.stdout
    assert "Traceback" not in done.stdout
    return done.stdout.splitlines()


@pytest.mark.parametrize(
    ("deploy", "data", "found"),
    [
        ("deploy.py", {"extra_ca": "/nope"}, f"extra_ca: found /nope, {NONE}; allowed: a"),
        ("switch.py", {"hf_token_file": "/nope"}, "hf_token_file: /nope: the Hub token cannot be"),
        (
            "switch.py",
            {**OPEN, "api_key_file": "/nope"},
            f"api_key_file: found /nope, {NONE}; allowed: a readable file on the control side",
        ),
        (
            "deploy.py",
            {**OPEN, "secrets_dir": "README.md"},
            "secrets_dir: found README.md, which README.md is in the way of; allowed: a folder",
        ),
        (
            "deploy.py",
            {**OPEN, "tls": "files", "tls_certificate_file": "/no", "tls_key_file": "/nope"},
            f"tls_certificate_file: found /no, {NONE}; allowed: a readable file",
        ),
        (
            "deploy.py",
            {**OPEN, "tls": "files", "tls_certificate_file": "/no", "tls_key_file": "/nope"},
            f"tls_key_file: found /nope, {NONE}; allowed: a readable file",
        ),
        ("bootstrap.py", {"ssh_key": "/nope"}, f"public_key: found /nope.pub, {NONE}; allowed: a"),
        (
            "bootstrap.py",
            {"first_password_file": "/nope"},
            f"first_password_file: found /nope, {NONE}; allowed: a readable file",
        ),
    ],
)
def test_a_file_that_is_not_there(
    tmp_path: Path, deploy: str, data: dict[str, object], found: str
) -> None:
    lines = told(tmp_path, deploy, data)
    assert len([one for one in lines if f"group_data/all.py: {found}" in one]) == 1, lines


def test_build_without_a_builder(tmp_path: Path) -> None:
    line = "group_data/all.py: image_builder: found None, allowed: spark-01, spark-02"
    assert line in told(tmp_path, "build.py", {})
    registry = {"image_builder": "spark-01", "image_registry": "192.0.2.1:5000"}
    lines = told(tmp_path, "build.py", {**registry, "image_folder": "docs"})
    place = tmp_path / "group_data" / "all.py"
    assert f"{place}: image_folder: found docs, without a Dockerfile" in lines


@pytest.mark.parametrize("deploy", ["status.py", "verify.py", "rollback.py", "remove.py"])
def test_what_a_run_does_not_read_does_not_stop_it(tmp_path: Path, deploy: str) -> None:
    data = {**GOOD, **OPEN, "api_key_file": "/nope", "extra_ca": "/nope", "hf_token_file": "/nope"}
    with port() as listener:
        run(inventory(tmp_path, listener.number, data=data), deploy, "-y")
        assert len(listener.seen) == 2


def test_a_folder_for_secrets_that_is_still_to_be_made(tmp_path: Path) -> None:
    with port() as listener:
        data = {**GOOD, **OPEN, "secrets_dir": str(tmp_path / "one" / "two")}
        run(inventory(tmp_path, listener.number, data=data), "deploy.py", "-y")
        assert len(listener.seen) == 2
