"""What tests put on a host by hand: the files of a release, and what catches an activation."""

from __future__ import annotations

from typing import Any

# Loaded into every Python on the host: a breakpoint. The transaction stops itself as soon as the
# phase named in /opt/catch is on disk ("locked": before the next one is).
CATCHER = """
import json, os, signal, sys

CATCH = "/opt/catch"

def hook(event, args):
    if event != "os.rename" or not os.path.exists(CATCH) or "run" not in sys.argv:
        return
    kind = {"/run/vllm-fleet/activation.json": "live",
            "/var/lib/vllm-fleet/activation.json": "disk"}.get(str(args[1]))
    if kind is None:
        return
    phase, wanted = json.load(open(args[0]))["phase"], open(CATCH).read()
    if (kind, phase) == (("disk", "draining") if wanted == "locked" else ("live", wanted)):
        os.unlink(CATCH)
        os.kill(os.getpid(), signal.SIGSTOP)

sys.addaudithook(hook)
"""
PLACE = "/usr/lib/python3/dist-packages"


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
