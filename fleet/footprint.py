"""The memory arithmetic of what a host serves: its lock and arguments, given to fleet.fit. Pure."""

from __future__ import annotations

from dataclasses import replace

from fleet import known_models
from fleet.case import facts
from fleet.fit import Fit, fit
from fleet.memory import GIB, Plan, Subject, budget, parts, plan
from fleet.models import ModelLock
from fleet.serving import Serving
from fleet.vllm_config import serve_config

_WEIGHTS = (".safetensors", ".bin", ".gguf", ".pt", ".pth")


def weights(lock: ModelLock) -> int:
    """Bytes of the files that hold weights; of several formats the one vLLM takes."""
    # Copies in another layout lie in folders, or beside the shards as consolidated*.safetensors.
    top = [file for file in lock.files if "/" not in file.path]
    own = [file for file in top if not file.path.startswith("consolidated")] or top
    sizes = (
        sum(file.size for file in files if file.path.endswith(suffix))
        for suffix in _WEIGHTS
        for files in (own, top, lock.files)
    )
    return next((size for size in sizes if size), 0)


def memory(serving: Serving) -> Fit | None:
    """The memory arithmetic of what is served; None where the size of the weights is not known."""
    subject = _subject(serving)
    if subject is None:
        return None
    return fit(subject, replace(_plan(serving), floor=_floor(serving)))


def memory_needed_kib(serving: Serving) -> int:
    """MemAvailable that a start needs, KiB: what vLLM takes and the floor. 0: no check."""
    taken = _taken(serving)
    return round((taken + _floor(serving)) / 1024) if taken else 0


def _taken(serving: Serving) -> int:
    """Bytes vLLM takes: a number of bytes for its cache goes over the fraction; 0: not known."""
    wanted, subject = _plan(serving), _subject(serving)
    if wanted.cache_bytes is None or subject is None:
        return round((wanted.fraction or 0.0) * wanted.gpu)
    return budget(wanted, parts(subject, wanted))


def _plan(serving: Serving) -> Plan:
    config = serve_config(serving)
    return plan(config, config.get("speculative-config"))


def _floor(serving: Serving) -> int:
    return round(serving.memory_floor_gib * GIB)


def _subject(serving: Serving) -> Subject | None:
    size, source = _weights(serving.model)
    draft = serving.speculation.draft if serving.speculation else None
    if not size:
        return None
    return Subject(
        repo=serving.model.repo,
        weights=size,
        config=facts(serving.model),
        source=source,
        draft_weights=weights(draft) if draft else 0,
        draft=facts(draft) if draft else None,
    )


def _weights(lock: ModelLock) -> tuple[int, str]:
    """Bytes of weights and who says so; 0 where nobody does."""
    if lock.files:
        return weights(lock), f"its lock, commit {lock.revision[:12]}"
    found = known_models.known(lock.repo)
    return (found.weights, found.source) if found else (0, "")
