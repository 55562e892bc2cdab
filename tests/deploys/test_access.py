"""An API beyond loopback that asks for no key is refused wherever it is asked for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.deploys.command_line import GOOD, port, run

OPEN: dict[str, Any] = {"listen": "0.0.0.0", "api_auth": "none"}
LINE = "api_auth: found 'none' while listen is 0.0.0.0; allowed: 'key', or firewall = True"


def outcome(folder: Path, text: str, *words: str, data: dict[str, Any] | None = None) -> str:
    """What a deploy with the inventory ``text`` says; it must have contacted nobody."""
    (folder / "group_data").mkdir()
    every = {**GOOD, **(data or {})}
    lines = [f"{key} = {value!r}\n" for key, value in every.items()]
    (folder / "group_data" / "all.py").write_text("".join(lines))
    with port() as opened:
        ssh = {"ssh_hostname": "127.0.0.1", "ssh_port": opened.number, "ssh_user": "nobody"}
        other = {**ssh, "ssh_hostname": "127.0.0.2"}
        (folder / "hosts.py").write_text(f"SSH, OTHER = {ssh!r}, {other!r}\n{text}\n")
        done = run(folder / "hosts.py", "deploy.py", "-y", *words)
        assert done.returncode == 1 and not opened.seen, done.stdout
    return done.stdout


def test_in_group_data(tmp_path: Path) -> None:
    said = outcome(tmp_path, "fleet = [('a', SSH)]", data=OPEN)
    assert f"{tmp_path}/group_data/all.py: {LINE}" in said


def test_of_one_host(tmp_path: Path) -> None:
    said = outcome(tmp_path, f"fleet = [('a', SSH), ('b', {{**OTHER, **{OPEN!r}}})]")
    assert LINE in said and "1 mistake in the settings; no host was contacted" in said


def test_by_data(tmp_path: Path) -> None:
    words = [word for key, value in OPEN.items() for word in ("--data", f"{key}={value}")]
    said = outcome(tmp_path, "fleet = [('a', SSH)]", *words)
    assert f"--data: {LINE}" in said


@pytest.mark.parametrize("listen", ["0.0.0.0", "192.0.2.1", "::"])
def test_of_a_gateway(tmp_path: Path, listen: str) -> None:
    more = {"listen": "0.0.0.0"}
    text = f"fleet = [('a', {{**SSH, **{more!r}}})]\ngateway = [('g', {{**OTHER, **OWN}})]"
    own = f"OWN = {{'api_auth': 'none', 'gateway_listen': {listen!r}}}"
    said = outcome(tmp_path, f"{own}\n{text}")
    assert f"host g: api_auth: found 'none' on a gateway that listens on {listen}" in said
