"""Settings to the release: each text that decides what a host serves, named by its digest. Pure."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fleet import templates
from fleet.case import facts
from fleet.combine import environment
from fleet.footprint import memory_needed_kib
from fleet.mode_claims import Values, mode_claims
from fleet.serving import Serving
from fleet.vllm_config import HUB, LISTEN, serve_arguments, serve_config, served_name

CACHE = "/cache"  # compiled kernels, as the container sees it
CONFIG = "/etc/vllm-fleet-release"  # the release, as the container sees it
CONTAINER = "vllm"
PROJECT = "vllm-fleet"
USER = "2000:2000"  # who the server is inside its container; no user of the host
DRAFT = "0" * 12  # stands for the digest while the digest is computed
_GRACE_S = 30  # from the end of the drain to SIGKILL; vLLM can swallow SIGTERM while it starts


@dataclass(frozen=True)
class Release:
    """What a host serves. ``files`` maps a name in the release's folder to its text."""

    digest: str
    files: Mapping[str, str]


def _json(value: object) -> str:
    """``value`` as JSON, which is YAML too; no escapes that YAML reads differently."""
    return json.dumps(value, ensure_ascii=False, allow_nan=False)


def _compose(value: object) -> str:
    """As ``_json``; Compose would substitute what follows a dollar."""
    return _json(value).replace("$", "$$")


_templates = templates.environment()
_templates.filters.update(json=_json, compose=_compose)


_released: dict[int, tuple[Serving, Release]] = {}  # the settings too: so their id stays theirs


def release(settings: Serving) -> Release:
    """The release of ``settings``; the same settings give the same bytes."""
    if id(settings) not in _released:
        _released[id(settings)] = settings, _rendered(settings)
    return _released[id(settings)][1]


def _rendered(settings: Serving) -> Release:
    draft = _files(settings, DRAFT)
    digest = hashlib.sha256(_json(draft).encode()).hexdigest()[:12]
    return Release(digest=digest, files=_files(settings, digest))


def has_fabric(settings: Serving) -> bool:
    """Whether the ranks talk over RDMA."""
    return any(rank.fabric for rank in settings.ranks)


def _cluster_environment(settings: Serving) -> dict[str, str]:
    if not settings.ranks:
        return {}
    ray = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_memory_monitor_refresh_ms": "0"}
    # INIT and NET: over what it talks; files/nccl.py reads it.
    nccl = {"NCCL_DEBUG": "INFO", "NCCL_DEBUG_SUBSYS": "INIT,NET", "NCCL_IB_DISABLE": "0"}
    return {
        **(ray if settings.cluster_backend == "ray" else {}),
        **({**nccl, "NCCL_IGNORE_CPU_AFFINITY": "1"} if has_fabric(settings) else {}),
    }


def _replica(settings: Serving) -> dict[str, Any]:
    if not settings.ranks:
        return {}
    told = {
        "name": settings.replica,
        "backend": settings.cluster_backend,
        "port": settings.cluster_port,
        "proof": settings.fabric_proof,
        "ranks": [rank.model_dump(mode="json") for rank in settings.ranks],
    }
    return {"replica": told}


def serve_environment(settings: Serving) -> dict[str, str]:
    """The server's environment: ours, then what mode and settings add."""
    ours = {
        "DO_NOT_TRACK": "1",
        "FLASHINFER_WORKSPACE_BASE": CACHE,
        "HOME": CACHE,  # all else in the container is read-only
        "HF_HUB_CACHE": HUB,
        "HF_HUB_OFFLINE": "1",
        "TORCHINDUCTOR_CACHE_DIR": f"{CACHE}/inductor",
        "USER": "vllm",  # no user of that number is known there, and torch asks for its name
        "TRITON_CACHE_DIR": f"{CACHE}/triton",
        "VLLM_CACHE_ROOT": f"{CACHE}/vllm",
        "VLLM_ENGINE_READY_TIMEOUT_S": str(settings.mode.ready_timeout_s),
        "VLLM_NO_USAGE_STATS": "1",
    }
    ours |= _cluster_environment(settings)
    return dict(sorted((ours | environment(settings, settings.mode)).items()))


def claims(settings: Serving) -> dict[str, Values]:
    """What the release says of the server that will run: claims by name."""
    return {
        **mode_claims(serve_arguments(settings), facts(settings.model)),
        "image": [settings.vllm_image],
        "listen": [LISTEN],
        "model": [f"{HUB}/{settings.model.snapshot}"],
        "served_name": [served_name(settings)],
    }


def _facts(settings: Serving, digest: str) -> dict[str, Any]:
    """release.json: all that the programs on the host read."""
    return {
        "claims": claims(settings),
        "container": CONTAINER,
        "digest": digest,
        "drain_timeout_s": settings.mode.drain_timeout_s,
        "image": settings.vllm_image,
        "listen": LISTEN,
        "memory_needed_kib": memory_needed_kib(settings),
        "mode": settings.vllm_mode,
        "model": settings.model.repo,
        "port": settings.port,
        "project": PROJECT,
        "ready_timeout_s": settings.mode.ready_timeout_s,
        "revision": settings.model.revision,
        "served_name": served_name(settings),
        "stall_timeout_s": settings.mode.stall_timeout_s,
        **_replica(settings),
    }


def _files(settings: Serving, digest: str) -> dict[str, str]:
    values = {
        "settings": settings,
        "digest": digest,
        "config": serve_config(settings),
        "environment": serve_environment(settings),
        "stop_grace_s": settings.mode.drain_timeout_s + _GRACE_S,
        "hub": HUB,
        "cache": CACHE,
        "release": CONFIG,
        "container": CONTAINER,
        "project": PROJECT,
        "user": USER,
        "fabric": has_fabric(settings),
    }
    return {
        "compose.yaml": _templates.get_template("compose.yaml.j2").render(values),
        "release.json": json.dumps(_facts(settings, digest), indent=1, sort_keys=True) + "\n",
        "vllm.env": _templates.get_template("vllm.env.j2").render(values),
        "vllm.yaml": _templates.get_template("vllm.yaml.j2").render(values),
    }
