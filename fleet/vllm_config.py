"""Settings to vLLM's own arguments, as its ``--config`` file holds them. Pure."""

from __future__ import annotations

import json
from typing import Any

from fleet.case import facts
from fleet.combine import arguments
from fleet.serving import Serving

HUB = "/models/hub"  # the model cache, as the container sees it
LISTEN = "127.0.0.1"  # always: what listens beyond loopback is the proxy


def serve_arguments(settings: Serving) -> dict[str, Any]:
    """vLLM's arguments by long name; a switch turned off is False."""
    chosen = arguments(settings, settings.mode, facts(settings.model))
    return {
        "allowed-origins": _origins(settings),
        **chosen,
        **_memory(settings),
        **_parallel(settings),
        **_cluster(settings),
        **_speculation(settings),
        "model": f"{HUB}/{settings.model.snapshot}",
        "served-model-name": [served_name(settings)],
        "host": LISTEN,
        "port": settings.port,
        "shutdown-timeout": settings.mode.drain_timeout_s,
    }


def _origins(settings: Serving) -> str:
    """Whose pages a browser on the host lets read answers. vLLM's default is all: any page that a
    person at the host has open could use a server that asks for no key."""
    return json.dumps([f"http://{LISTEN}:{settings.port}"])


def serve_config(settings: Serving) -> dict[str, Any]:
    """vLLM's ``--config``: long names; ``no-x: true`` where a switch is off."""
    switched = {
        (f"no-{name}" if value is False else name): (True if value is False else value)
        for name, value in serve_arguments(settings).items()
    }
    return dict(sorted(switched.items()))


def served_name(settings: Serving) -> str:
    """The model's name in the API."""
    return settings.served_name or settings.vllm_model


def _memory(settings: Serving) -> dict[str, float]:
    """Part of the GPU's memory vLLM takes; nothing where it gets a number of bytes alone."""
    fraction = settings.memory_fraction or settings.mode.memory_fraction
    return {} if fraction is None else {"gpu-memory-utilization": fraction}


def _parallel(settings: Serving) -> dict[str, int]:
    sizes = {
        "tensor-parallel-size": settings.tensor_parallel,
        "pipeline-parallel-size": settings.pipeline_parallel,
        "data-parallel-size": settings.data_parallel,
    }
    return {name: size for name, size in sizes.items() if size > 1}


def _cluster(settings: Serving) -> dict[str, Any]:
    """The same for all ranks; a rank adds its own number when it starts (files/cluster.py)."""
    if not settings.ranks:
        return {}
    backend = {"distributed-executor-backend": settings.cluster_backend}
    if settings.cluster_backend == "ray":
        return backend
    meeting = {"master-addr": settings.ranks[0].address, "master-port": settings.cluster_port}
    return {**backend, "nnodes": len(settings.ranks), **meeting}


def _speculation(settings: Serving) -> dict[str, Any]:
    speculation = settings.speculation
    return {"speculative-config": speculation.config(HUB)} if speculation else {}
