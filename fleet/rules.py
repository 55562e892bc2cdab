"""What cannot work together, and why: each rule is a small function over one Case.

Sources: vLLM 0.33.0's parser and engine configuration on a (12, 1) platform; docs/modes.md has the
evidence. What only the image knows is checked on the host before anything stops.
"""

from __future__ import annotations

from collections.abc import Callable

from fleet import rules_arguments, rules_kernels, speculators
from fleet.case import Case
from fleet.catalogue import Catalogue
from fleet.modes import Mode
from fleet.problems import SettingsError
from fleet.serve import ServeSettings
from fleet.speculators import Speculation

RULES = (*rules_arguments.RULES, *rules_kernels.RULES)


def speculation(
    settings: ServeSettings, mode: Mode, where: Callable[[str], str], files: Catalogue
) -> Speculation | None:
    """What speeds the model up in a mode that needs it; SettingsError where nothing is known."""
    wish = settings.vllm_speculator
    if "speculator" not in mode.needs:
        if wish:
            raise SettingsError(
                f"{where('vllm_speculator')}: vllm_speculator: found {wish!r}, "
                f"allowed: only with a mode that needs one, not {settings.vllm_mode!r}"
            )
        return None
    if settings.vllm_args.get("speculative-config"):
        return None
    found = speculators.choose(settings.vllm_model, wish, files.models)
    if found is None:
        known = ", ".join(sorted(speculators.known(files.models))) or "none"
        raise SettingsError(
            f"{where('vllm_model')}: vllm_model: found {settings.vllm_model!r}, for which no "
            f"speculator is known; mode {settings.vllm_mode!r} allows: {known}; add it to "
            "models/speculators.yaml or set vllm_speculator"
        )
    if wish:
        return speculators.lock(found, where("vllm_speculator"), "vllm_speculator", files)
    place, key = f"models/{speculators.FILE}", f"{settings.vllm_model}.draft"
    return speculators.lock(found, place, key, files)


def problems(case: Case, where: Callable[[str], str]) -> list[str]:
    """One line for each thing in ``case`` that cannot work."""
    return [_line(case, where, *finding) for rule in RULES for finding in rule(case)]


def _line(case: Case, where: Callable[[str], str], key: str, reason: str) -> str:
    scope, _, name = key.partition(".")
    if scope != "args":
        return f"{where(key)}: {key}: {reason}"
    if name in case.settings.vllm_args or f"no-{name}" in case.settings.vllm_args:
        return f"{where('vllm_args')}: vllm_args.{name}: {reason}"
    if name in case.mode.args or name in case.mode.moe_args:
        return f"modes/{case.settings.vllm_mode}.yaml: args.{name}: {reason}"
    return f"{where('vllm_args')}: vllm_args.{name}: {reason}"
