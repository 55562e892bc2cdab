"""The other side of benchmarks/converge.py: ansible-core in a venv of its own, and its variables.

What the playbook wants is read from a host that deploy.py has converged, so both sides want the
same by construction.
"""

from __future__ import annotations

import json
import subprocess
from base64 import b64decode
from pathlib import Path
from typing import Any

from fleet import host_files, host_packages
from fleet.host import HostSettings
from fleet.models import load as load_model
from lab.cache import locked
from lab.paths import cache_dir
from lab.state import SSH_USER
from lab.testing import Lab

HERE = Path(__file__).parent / "ansible"
MODEL = "lab/tiny"
LIBRARY = "/usr/local/lib/vllm-fleet"
FILES = (
    *host_files.owned(),
    *("/etc/systemd/system/vllm.service", "/etc/docker/daemon.json"),
    *("/etc/vllm-fleet/releases/*/*", "/var/lib/vllm-fleet/accepted/*"),
    "/var/lib/vllm-fleet/gpu-proof.json",
)
FOLDERS = (
    *("/srv/models/hub", "/etc/vllm-fleet/releases", "/etc/vllm-fleet/secrets", LIBRARY),
    *("/var/lib/vllm-fleet", "/var/lib/vllm-fleet/cache", "/var/log/vllm-fleet"),
    "/var/log/journal",
)
UNITS = (
    *("systemd-journald.service", "earlyoom.service", "nvidia-persistenced.service"),
    *("containerd.service", "docker.service", "vllm.service"),
)
READS = (
    *("uname -r", "dpkg --print-architecture", "modinfo -F version nvidia"),
    "nvidia-smi --query-gpu=name,driver_version,compute_cap --format=csv,noheader",
    *("cat /sys/module/nvidia/version", "sysctl -n vm.swappiness vm.watermark_boost_factor"),
    *("cat /proc/swaps", "docker version"),
)
COLLECT = """
import base64, glob, json, os, sys
def one(path):
    s = os.stat(path)
    found = {"path": path, "mode": f"{s.st_mode & 0o7777:04o}",
             "owner": str(s.st_uid), "group": str(s.st_gid)}
    if os.path.isfile(path):
        found["content"] = base64.b64encode(open(path, "rb").read()).decode()
    return found
print(json.dumps([one(p) for pattern in sys.argv[1:] for p in sorted(glob.glob(pattern))]))
"""


def installed(python: str) -> Path:
    """The folder of ansible-core's programs, in a venv that is made when it is missing."""
    wanted = (HERE / "requirements.txt").read_text()
    version = subprocess.run(
        [python, "-c", "import sys; print('%d.%d' % sys.version_info[:2])"],
        check=True, capture_output=True, text=True,
    ).stdout.strip()  # fmt: skip
    venv = cache_dir() / f"ansible-{version}"
    cache_dir().mkdir(parents=True, exist_ok=True)
    with locked(cache_dir() / "ansible.lock"):
        done = venv / "requirements.txt"
        if not done.exists() or done.read_text() != wanted:
            subprocess.run([python, "-m", "venv", "--clear", venv], check=True)
            pip = [venv / "bin/python", "-m", "pip", "install", "--quiet"]
            subprocess.run([*pip, "--requirement", HERE / "requirements.txt"], check=True)
            done.write_text(wanted)
    return venv / "bin"


def prepared(lab: Lab, folder: Path, image: str) -> list[str]:
    """Inventory, variables and files in ``folder``; the playbook's arguments."""
    host = lab.names[0]
    lines = [
        f"{one.name} ansible_host={one.address} ansible_user={SSH_USER} "
        f"ansible_ssh_private_key_file={lab.state.ssh_key} "
        f"ansible_ssh_common_args='-o UserKnownHostsFile={lab.state.known_hosts}'"
        for one in lab.state.hosts
    ]
    (folder / "hosts.ini").write_text("\n".join(lines) + "\n")
    files = [one for one in collected(lab, host, FILES) if "content" in one]
    for one in files:
        copy = folder / "files" / one["path"].lstrip("/")
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(b64decode(one.pop("content")))
    what = {**wanted(lab, host, image), "files": files}
    variables = {"files": str(folder / "files"), "wanted": what}
    (folder / "variables.json").write_text(json.dumps(variables, indent=1))
    return [
        "--inventory", str(folder / "hosts.ini"), "--extra-vars", f"@{folder / 'variables.json'}",
        str(HERE / "playbook.yaml"),
    ]  # fmt: skip


def collected(lab: Lab, host: str, patterns: tuple[str, ...]) -> list[dict[str, Any]]:
    """Path, mode, owner and content of what lies there."""
    words = " ".join(f"'{pattern}'" for pattern in patterns)
    found: list[dict[str, Any]] = json.loads(
        lab.text(host, f"python3 - {words} <<'END'\n{COLLECT}\nEND")
    )
    return found


def wanted(lab: Lab, host: str, image: str) -> dict[str, Any]:
    """What the host has and does."""
    lock = load_model(MODEL, place="", key="")
    model = f"/srv/models/hub/{lock.snapshot}"
    whole = lab.text(host, f"find -L {model} -type f -printf '%P %s\\n'")
    release = lab.text(host, "readlink /etc/vllm-fleet/current")
    facts = json.loads(lab.text(host, "cat /etc/vllm-fleet/current/release.json"))
    held = lab.text(host, "apt-mark showhold").split()
    return {
        "reads": [{"command": c, "answer": lab.text(host, c)} for c in READS],
        "packages": packages(lab, host, held),
        "held": held,
        "folders": collected(lab, host, FOLDERS),
        "programs": lab.text(host, f"sha256sum {LIBRARY}/*.py") + "\n",
        "units": list(UNITS),
        "image": image,
        "driver": lab.text(host, "cat /sys/module/nvidia/version"),
        "model": model,
        "model_files": whole.split("\n"),
        "release": release,
        "api": f"http://127.0.0.1:{facts['port']}",
        "model_name": facts["served_name"],
    }


def packages(lab: Lab, host: str, held: list[str]) -> list[str]:
    """name=version of every package that deploy.py looks for."""
    base = HostSettings.model_fields["base_packages"].default
    names = {*held, *base, *host_packages.TOOLKIT, "earlyoom"}
    told = lab.text(host, "dpkg-query -W -f '${Package}=${Version}\\n' " + " ".join(sorted(names)))
    return told.split()
