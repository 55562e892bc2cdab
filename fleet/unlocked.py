"""Which models a host's data asks for that have no lock yet."""

from __future__ import annotations

from collections.abc import Mapping

from fleet import models, modes, speculators
from fleet.catalogue import OURS, Catalogue
from fleet.problems import SettingsError


def wanted(data: Mapping[str, object], files: Catalogue = OURS) -> list[str]:
    """Their names, ORG/NAME: the model, and the draft of a mode that needs one.

    ``data`` may be wrong in any way; what cannot be read is left to ``settings.load`` to tell.
    """
    model = _repo(data.get("vllm_model"))
    named = (model, _draft(data, model, files))
    return [name for name in named if name and not models.is_locked(name, files.models)]


def _draft(data: Mapping[str, object], model: str | None, files: Catalogue) -> str | None:
    arguments = data.get("vllm_args")
    if isinstance(arguments, Mapping) and arguments.get("speculative-config"):
        return None
    try:
        mode = modes.load(str(data.get("vllm_mode")), files.modes)
        if model is None or "speculator" not in mode.needs:
            return None
        found = speculators.choose(model, _repo(data.get("vllm_speculator")), files.models)
    except SettingsError:
        return None
    return found.draft if found else None


def _repo(value: object) -> str | None:
    try:
        return models.repo_name(value) if isinstance(value, str) else None
    except ValueError:
        return None
