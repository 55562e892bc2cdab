"""A real NFS 4.2 server and mount, by the very files that deploy.py writes; needs minutes.

Opt in with LAB_VM=1: the kernel under the lab's hosts has no NFS, so a virtual machine brings one.
"""

from __future__ import annotations

import hashlib
import json
import os

import pytest

from fleet import nfs
from lab import vm
from lab.testing import REPO

pytestmark = pytest.mark.skipif(os.environ.get("LAB_VM") != "1", reason="opt in with LAB_VM=1")
WHERE = "/mnt/my-models"
RUN = f"""
set -e
cd /lab
ip link set lo up
mkdir -p /srv/models/hub/models--org--name/snapshots/{"0" * 40} /etc/exports.d {WHERE}
cp exports {nfs.EXPORTS}
cp mount '/etc/systemd/system/{nfs.unit_name(WHERE)}'
printf weights > /srv/models/hub/models--org--name/snapshots/{"0" * 40}/model.bin
systemctl daemon-reload
systemctl restart nfs-server
exportfs -ra
systemctl start '{nfs.unit_name(WHERE)}'
grep ' {WHERE} ' /proc/mounts
python3 -B facts.py up
python3 -B check_model.py request.json
printf Weights > /srv/models/hub/models--org--name/snapshots/{"0" * 40}/model.bin
sleep 61  # so long a client may go by the attributes it knows
python3 -B check_model.py request.json || true
ls {WHERE}/hub/models--org--name/snapshots/{"0" * 40}
systemctl stop nfs-server
python3 -B facts.py down
systemctl start nfs-server
sleep 100
python3 -B facts.py back
"""
FACTS = f"""
import json, sys, time
sys.path.insert(0, "/lab")
import facts_nfs
began = time.monotonic()
found = facts_nfs.nfs({{"server": "127.0.0.1", "port": {nfs.PORT}, "where": {WHERE!r}}})
found["seconds"] = round(time.monotonic() - began, 1)
print("FACTS", json.dumps({{sys.argv[1]: found}}))
"""


def test_the_mount_works_and_a_dead_server_keeps_nobody_waiting(
    capsys: pytest.CaptureFixture[str],
) -> None:
    programs = {path.name: path.read_bytes() for path in (REPO / "files").glob("*.py")}
    [unit] = [
        text
        for path, text in nfs.mount_files("nfs://127.0.0.1/srv/models", WHERE).items()
        if path.endswith(".mount")
    ]
    said = vm.script(
        {
            **programs,
            "facts.py": FACTS.encode(),
            "exports": nfs.exports("/srv/models", ("127.0.0.0/8",)).encode(),
            "mount": unit.encode(),
            "request.json": json.dumps(request()).encode(),
            "run": RUN.encode(),
        }
    )
    with capsys.disabled():
        print(f"\n{said}")
    found = {}
    for line in said.splitlines():
        if line.startswith("FACTS "):
            found |= json.loads(line.removeprefix("FACTS "))
    assert "nfs4" in said and "vers=4.2" in said
    assert "org/name: 1 files are whole" in said, "read over the mount"
    assert "set aside, not as locked: model.bin" in said and "model.bin.corrupt" in said
    assert found["up"]["answers"] and found["up"]["usable"]
    assert not found["down"]["answers"] and not found["down"]["usable"]
    assert found["down"]["seconds"] < 15
    assert found["back"]["usable"]


def request() -> dict[str, object]:
    """As the control side writes it."""
    digest = hashlib.sha256(b"weights").hexdigest()
    return {
        "hub": f"{WHERE}/hub",
        "repo": "org/name",
        "revision": "0" * 40,
        "files": [{"path": "model.bin", "size": 7, "sha256": digest}],
        "image": "none",
        "endpoint": "https://hub.example",
        "token_file": "/none",
    }
