"""Docker: its daemon, images, containers, configuration, and the CDI devices it may hand out."""

import glob
import json
import re
from typing import Any

import docker_api
from facts import Errors, text, text_or_none


def images() -> dict[str, str]:
    """Every name an image answers to (tag or digest) and its id."""
    return {
        name: image["Id"]
        for image in docker_api.ask("/images/json")
        for name in (*(image["RepoTags"] or ()), *(image["RepoDigests"] or ()))
    }


def containers() -> list[dict[str, Any]]:
    return [
        {
            "id": c["Id"],
            "name": (c["Names"] or ["/"])[0][1:],
            "labels": c["Labels"],
            "state": c["State"],
            "image": c["Image"],
        }
        for c in docker_api.ask("/containers/json?all=1")
    ]


def daemon_json() -> dict[str, Any]:
    found = text_or_none("/etc/docker/daemon.json")
    try:
        invalid = None if not found or isinstance(json.loads(found), dict) else "not an object"
    except ValueError as error:
        invalid = str(error)
    return {"text": found, "invalid": invalid}


def cdi() -> dict[str, dict[str, list[str]]]:
    """Each CDI spec: its device names, and the driver versions of its libraries (one, if sane)."""
    texts = {p: text(p) for d in ("/etc/cdi", "/run/cdi") for p in sorted(glob.glob(d + "/*.*"))}
    return {
        path: {
            "devices": re.findall(r"^\s*-?\s*\"?name\"?:\s*\"?([\w.:-]+)", body, re.MULTILINE),
            "drivers": sorted(set(re.findall(r"libcuda\.so\.(\d+\.[\d.]+\d)", body))),
        }
        for path, body in texts.items()
    }


def docker(errors: Errors) -> dict[str, Any]:
    """The daemon's view. That it is not there is a state, told in "error", not a failed fact."""
    found: dict[str, Any] = {
        "version": None,
        "error": None,
        "daemon_json": errors.fact("docker.daemon_json", daemon_json),
        "cdi": errors.fact("docker.cdi", cdi),
    }
    try:
        found["version"] = docker_api.ask("/version")["Version"]
    except (OSError, ValueError) as error:
        return {
            **found,
            "error": f"{type(error).__name__}: {error}",
            "images": {},
            "containers": [],
        }
    asked = {"images": images, "containers": containers, "info": docker_info}
    return found | {name: errors.fact(f"docker.{name}", read) for name, read in asked.items()}


def docker_info() -> dict[str, Any]:
    names = ("Driver", "Runtimes", "LiveRestoreEnabled", "CgroupDriver", "DiscoveredDevices",
             "RegistryConfig")  # fmt: skip
    info = docker_api.ask("/info")
    return {name: info.get(name) for name in names}
