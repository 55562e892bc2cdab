"""All that a converge compares with, read in one go: `main(request)` prints one JSON line.

Runs on the host as `python3 -` over SSH, its siblings (`facts*.py`) with it. It needs the standard
library only and changes nothing. A fact that cannot be read is null and has an entry in "errors";
one bad fact never hides the others. The slow parts (nvidia-smi, modinfo, systemctl) run side by
side while files are read.
"""

import json
from collections.abc import Callable
from subprocess import Popen
from typing import Any

from facts import Errors, start
from facts_docker import docker
from facts_driver import SMI_FIELDS, driver, kernels
from facts_fabric import fabric
from facts_files import UNIT_FIELDS, apt_sources, file_state, packages, units
from facts_host import host
from facts_network import firewall, listeners, ssh_peers, ufw
from facts_nfs import nfs, without
from facts_serving import disk, model, serving
from gateway import statuses


def main(request: dict[str, Any]) -> None:
    """Print the snapshot that `request` asks for, as one JSON line.

    Keys, all optional: files, packages (shell patterns allowed), units, sysctls, ports, disks
    (paths), sources (words to look for in apt's source files), models ({hub, repo, revision} each),
    serving {current, previous, releases, activation, verified, lock: their paths; texts: names of
    the current release's files that are told whole}, fabric {peers, mtu}: the fast network, which
    is only read when asked for; nfs {server, port, where}: the shared cache;
    gateway (the path of its socket).
    """
    errors = Errors()
    cache = errors.fact("nfs", lambda: nfs(request.get("nfs")))
    request = without(request, cache)
    asked = questions(request)
    found = {n: errors.fact(n, read) for n, read in readers(request, errors, asked).items()}
    found["nfs"] = cache
    found["host"] = host(errors, asked["uname"], asked["dpkg"], request.get("sysctls", ()))
    found |= errors.fact("packages", lambda: packages(request.get("packages", ()))) or {
        "packages": None,
        "dpkg_unsettled": None,
    }
    print(json.dumps({**found, "errors": errors}))


def questions(request: dict[str, Any]) -> dict[str, Popen[str] | None]:
    """The slow commands, all started at once."""
    commands = {
        "show": ["systemctl", "show", "--property=" + ",".join(UNIT_FIELDS), *_units(request)],
        "smi": ["nvidia-smi", "--query-gpu=" + ",".join(SMI_FIELDS), "--format=csv,noheader"],
        "modinfo": ["modinfo", "nvidia"],
        "uname": ["uname", "-r"],
        "dpkg": ["dpkg", "--print-architecture"],
        "nft": ["nft", "list", "table", "inet", "vllm_fleet"],
    }
    return {name: start(*argv) for name, argv in commands.items()}


def _units(request: dict[str, Any]) -> list[str]:
    return list(request.get("units", ()))


def readers(
    request: dict[str, Any], errors: Errors, asked: dict[str, Popen[str] | None]
) -> dict[str, Callable[[], Any]]:
    """What reads each group of facts, by the group's name."""
    return {
        "kernels": kernels,
        "apt_sources": lambda: apt_sources(request.get("sources", ())),
        "files": lambda: {path: file_state(path) for path in request.get("files", ())},
        "disk": lambda: {path: disk(path) for path in request.get("disks", ())},
        "serving": lambda: serving(request.get("serving", {})),
        "models": lambda: {m["repo"]: model(m) for m in request.get("models", ())},
        "listeners": lambda: listeners(request.get("ports", ())),
        "ssh_peers": ssh_peers,
        "firewall": lambda: firewall(asked["nft"]),
        "ufw": ufw,
        "fabric": lambda: fabric(request.get("fabric")),
        "gateway": lambda: statuses(request["gateway"]) if request.get("gateway") else {},
        "docker": lambda: docker(errors),
        "units": lambda: units(_units(request), asked["show"]),
        "driver": lambda: driver(asked["modinfo"], asked["smi"]),
    }
