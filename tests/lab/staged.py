"""What tests put on a host by hand: the files of a release, and what catches an activation."""

from __future__ import annotations

from typing import Any

# Stops the activation where it stands as soon as it is in the phase.
CATCHER = """
import json, os, signal, sys, time
unit = "/sys/fs/cgroup/system.slice/vllm-fleet-activate.service/cgroup.procs"
record, bound = "/var/lib/vllm-fleet/activation.json", time.monotonic() + 60
open("/run/catcher", "w").close()
while time.monotonic() < bound:
    try:
        if json.load(open(record))["phase"] != sys.argv[1]:
            continue
        pids = [int(pid) for pid in open(unit)]
        if not all(b"activate.py" in open(f"/proc/{pid}/cmdline", "rb").read() for pid in pids[:1]):
            continue  # not executed yet
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
    except (OSError, ValueError):
        continue
    if pids:
        sys.exit(0)
sys.exit("not seen")
"""


def release_files(folder: str, facts: dict[str, Any]) -> dict[str, object]:
    """The four files of a release, as small as they can be."""
    service = {
        "container_name": "vllm", "image": facts["image"], "pull_policy": "never",
        "command": ["--config", "/release/vllm.yaml"], "env_file": [f"{folder}/vllm.env"],
        "labels": {"vllm-fleet.release": facts["digest"]}, "restart": "no",
        "network_mode": "host",
        "volumes": [f"{folder}:/release:ro", "/opt/src:/opt/src:ro", "/opt/model:/model:ro",
                    "/var/lib/vllm-fleet/cache:/cache"],
    }  # fmt: skip
    config = {
        "model": "/model", "served-model-name": [facts["served_name"]], "host": facts["listen"],
        "port": facts["port"], "shutdown-timeout": facts["drain_timeout_s"],
    }  # fmt: skip
    return {
        "release.json": facts,
        "vllm.yaml": config,
        "vllm.env": "VLLM_CACHE_ROOT=/cache/vllm\n",
        "compose.yaml": {"name": "vllm-fleet", "services": {"vllm": service}},
    }
