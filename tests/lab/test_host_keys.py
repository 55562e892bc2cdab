"""A host is only talked to by the key it is known by, whatever the inventory says."""

from __future__ import annotations

from pathlib import Path

import pytest

from lab.testing import Lab
from tests.lab.test_injection import run


@pytest.mark.parametrize("said", ["no", "off", "accept-new", "ask"])
@pytest.mark.parametrize("known", ["nobody", "another"])
def test_an_unknown_and_another_key_are_refused(
    lab: Lab, tmp_path: Path, said: str, known: str
) -> None:
    file = tmp_path / "known_hosts"
    host = lab.state.hosts[0]
    another = (
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIIbLyBIBdrtGPRoqr2SxWVPWF4yHxFfVpQJKYRpKzcnB"
        if known == "another"
        else ""
    )
    file.write_text(f"{host.address} {another}\n" if another else "")
    before = file.read_text()
    data = {"ssh_known_hosts_file": str(file), "ssh_strict_host_key_checking": said}
    done = run(lab, tmp_path, data, "status.py")
    assert done.returncode == 1 and "Traceback" not in done.stdout, done.stdout[-2000:]
    assert "host key" in done.stdout.lower()
    assert file.read_text() == before
