"""The memory arithmetic of what a host serves: its lock and arguments, given to fleet.fit. Pure."""

from __future__ import annotations

from dataclasses import replace

from fleet.case import facts
from fleet.fit import Fit, fit
from fleet.memory import GIB, Subject, plan
from fleet.models import ModelLock
from fleet.render import serve_config
from fleet.serving import Serving

_WEIGHTS = (".safetensors", ".bin", ".gguf", ".pt", ".pth")


def weights(lock: ModelLock) -> int:
    """Bytes of the files that hold weights; of several formats the one vLLM takes."""
    sizes = (
        sum(file.size for file in lock.files if file.path.endswith(suffix)) for suffix in _WEIGHTS
    )
    return next((size for size in sizes if size), 0)


def memory(serving: Serving) -> Fit:
    """The memory arithmetic of the release."""
    config = serve_config(serving)
    wanted = plan(config, config.get("speculative-config"))
    return fit(_subject(serving), replace(wanted, floor=round(serving.memory_floor_gib * GIB)))


def _subject(serving: Serving) -> Subject:
    draft = serving.speculation.draft if serving.speculation else None
    return Subject(
        repo=serving.model.repo,
        weights=weights(serving.model),
        config=facts(serving.model),
        source=f"its lock, commit {serving.model.revision[:12]}",
        draft_weights=weights(draft) if draft else 0,
        draft=facts(draft) if draft else None,
    )
