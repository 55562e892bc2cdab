"""What cannot work together, and why: each rule is a small function over one Case.

Sources: vLLM 0.33.0's parser and engine configuration on a (12, 1) platform; docs/modes.md has the
evidence. What only the image knows is checked on the host before anything stops.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fleet import speculators
from fleet.combine import arguments, environment, whole_number
from fleet.flags import KNOWN, SWITCHES, VERSION
from fleet.gb10 import GPU_GIB
from fleet.model_config import ModelConfig, read_config
from fleet.models import ModelLock, file_name
from fleet.modes import Mode
from fleet.problems import SettingsError, shown, suggestion
from fleet.serve import ServeSettings
from fleet.speculators import Speculation

Finding = tuple[str, str]  # key of a setting, or args.<name>; and what is wrong
Rule = Callable[["Case"], Iterator[Finding]]

_NOT_ON_12 = {
    "FLASHINFER_MLA": "10.x",
    "CUTLASS_MLA": "10.x",
    "TOKENSPEED_MLA": "10.x",
    "FLASHMLA": "9.x and 10.x",
    "FLASHMLA_SPARSE": "9.x and 10.x",
    "FLASH_ATTN_MLA": "9.x",
}
_OLD_PASSES = {
    "enable_fi_allreduce_fusion": "fuse_allreduce_rms",
    "enable_attn_fusion": "fuse_attn_quant",
}
_GRAPH_MODES = ("NONE", "PIECEWISE", "FULL", "FULL_DECODE_ONLY", "FULL_AND_PIECEWISE")
_STREAMED = 0.8  # of memory: fastsafetensors needs room for what it copies


@dataclass(frozen=True)
class Case:
    """Everything a rule may look at. ``config`` is None where the lock has no facts."""

    settings: ServeSettings
    mode: Mode
    model: ModelLock
    config: ModelConfig | None
    speculation: Speculation | None
    args: Mapping[str, Any]
    env: Mapping[str, str]
    gpus: int

    @property
    def moe(self) -> bool | None:
        """Whether the model is a mixture of experts; None where that is not known."""
        return None if self.config is None else self.config.experts is not None

    @property
    def mla(self) -> bool | None:
        """Whether the model has multi-head latent attention; None where that is not known."""
        return None if self.config is None else self.config.latent is not None

    @property
    def backend(self) -> str:
        """The attention backend asked for, in capitals, or nothing."""
        nested = self.args.get("attention-config")
        inner = nested.get("backend") if isinstance(nested, dict) else None
        return str(self.args.get("attention-backend") or inner or "").upper()


def speculation(
    settings: ServeSettings, mode: Mode, where: Callable[[str], str], folder: Path
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
    found = speculators.choose(settings.vllm_model, wish, folder)
    if found is None:
        known = ", ".join(sorted(speculators.known(folder))) or "none"
        raise SettingsError(
            f"{where('vllm_model')}: vllm_model: found {settings.vllm_model!r}, for which no "
            f"speculator is known; mode {settings.vllm_mode!r} allows: {known}; add it to "
            "models/speculators.yaml or set vllm_speculator"
        )
    return speculators.lock(found, where("vllm_speculator" if wish else "vllm_model"), folder)


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


def _names(case: Case) -> Iterator[Finding]:
    """The parser takes any unambiguous beginning of a name; we do not."""
    for name in case.args:
        if name in KNOWN:
            continue
        longer = sorted(known for known in KNOWN if known.startswith(name))
        if longer:
            yield f"args.{name}", f"is an abbreviation, allowed: {', '.join(longer[:5])}"
        elif near := suggestion(name, KNOWN, cutoff=0.88):
            yield f"args.{name}", f"is unknown to vLLM {VERSION}{near}"


def _off(case: Case) -> Iterator[Finding]:
    for name, value in case.args.items():
        if value is False and name not in SWITCHES:
            yield (
                f"args.{name}",
                "found False, which vLLM drops in silence (it has no "
                f"--no-{name}); leave the key out, or set it to null",
            )


def _memory(case: Case) -> Iterator[Finding]:
    fraction = case.settings.memory_fraction or case.mode.memory_fraction
    if fraction is None and "kv-cache-memory-bytes" not in case.args:
        yield (
            "memory_fraction",
            f"missing, mode {case.settings.vllm_mode!r} has none; allowed: up to 0.90, "
            "or set vllm_args kv-cache-memory-bytes",
        )
    limit = int(_STREAMED * GPU_GIB * 2**30)
    if case.args.get("load-format") == "fastsafetensors" and case.model.size > limit * case.gpus:
        yield (
            "args.load-format",
            f"found fastsafetensors with {case.model.size >> 30} GiB of weights, allowed: up to "
            f"{limit * case.gpus >> 30} GiB, it runs out of memory above; use auto",
        )


def _context(case: Case) -> Iterator[Finding]:
    wish = whole_number(case.args.get("max-model-len"))
    context = case.config.context if case.config else None
    if wish and context and wish > context:
        yield (
            "args.max-model-len",
            f"found {wish}, allowed: at most {context}, the context of {case.model.repo}",
        )


def _needs(case: Case) -> Iterator[Finding]:
    """A mode is refused with a model that would make its name a lie."""
    if case.config is None:
        return
    quantization = case.config.quantization
    words = f"{quantization.method} {quantization.algorithm}".lower() if quantization else ""
    found = f"{quantization.method} weights" if quantization else "weights that are not quantized"
    wanted = {
        "nvfp4": ("an NVFP4 checkpoint", "nvfp4" in words or "mixed" in words, found),
        "fp8": ("an FP8 checkpoint", "fp8" in words or "float-quantized" in words, found),
        "mla": ("a model with MLA", bool(case.mla), f"{case.config.architecture} without MLA"),
    }
    for need in case.mode.needs:
        if need in wanted and not wanted[need][1]:
            what, _, has = wanted[need]
            yield (
                "vllm_model",
                f"found {case.model.repo!r}, {has}; mode {case.settings.vllm_mode!r} "
                f"allows: {what}",
            )


def _one_backend(case: Case) -> Iterator[Finding]:
    nested = case.args.get("attention-config")
    if "attention-backend" in case.args and isinstance(nested, dict) and "backend" in nested:
        yield (
            "args.attention-backend",
            "given twice, vLLM refuses it together with attention-config.backend; drop one",
        )


def _backend_on_12(case: Case) -> Iterator[Finding]:
    backend = case.backend
    if backend in _NOT_ON_12:
        yield (
            "args.attention-backend",
            f"found {backend}, a kernel for compute capability {_NOT_ON_12[backend]}; GB10 is "
            "12.1: leave it out, vLLM chooses TRITON_MLA",
        )
    elif backend == "FLASH_ATTN" and str(case.args.get("kv-cache-dtype", "")).startswith("fp8"):
        yield (
            "args.attention-backend",
            "found FLASH_ATTN with kv-cache-dtype fp8, which needs FA3 on 9.0 or FA4 on 10.0; "
            "allowed on GB10: FLASHINFER, TRITON_ATTN",
        )
    elif backend and case.mla is not None and case.mla != ("MLA" in backend):
        kind = "has MLA" if case.mla else "has no MLA"
        yield (
            "args.attention-backend",
            f"found {backend}, but {case.model.repo} {kind}; set it to null, vLLM chooses",
        )


def _quantization(case: Case) -> Iterator[Finding]:
    wish = case.args.get("quantization")
    if wish is None or case.config is None:
        return
    own = case.config.quantization
    if own:
        yield (
            "args.quantization",
            f"found {shown(wish)}, but {case.model.repo} says itself that it is {own.method}; "
            "vLLM reads that, leave the key out",
        )
    elif str(wish) in ("mxfp4", "nvfp4", "modelopt_fp4", "compressed-tensors"):
        yield (
            "args.quantization",
            f"found {shown(wish)}, but the weights of {case.model.repo} are not quantized; "
            "it would have no effect, choose a quantized checkpoint",
        )


def _parallel(case: Case) -> Iterator[Finding]:
    settings = case.settings
    sizes = {
        "tensor_parallel": settings.tensor_parallel,
        "pipeline_parallel": settings.pipeline_parallel,
        "data_parallel": settings.data_parallel,
    }
    wanted = settings.tensor_parallel * settings.pipeline_parallel * settings.data_parallel
    if wanted > case.gpus:
        key = max(sizes, key=lambda name: sizes[name])
        yield (
            key,
            f"found {sizes[key]}, in all {wanted} GPUs; the replica has {case.gpus} "
            "(one for each GB10 host): allowed are sizes whose product fits",
        )


def _experts(case: Case) -> Iterator[Finding]:
    if case.args.get("enable-expert-parallel") and case.moe is False:
        yield (
            "args.enable-expert-parallel",
            f"found True, but {case.model.repo} is dense; vLLM refuses it, leave the key out",
        )


def _async(case: Case) -> Iterator[Finding]:
    """The V2 model runner (the default on a GPU) takes both; the V1 runner takes neither."""
    if not case.args.get("async-scheduling") or case.env.get("VLLM_USE_V2_MODEL_RUNNER") != "0":
        return
    draft = case.args.get("speculative-config")
    if isinstance(draft, dict) and draft.get("method") == "ngram":
        other = "ngram speculation"
    elif case.settings.pipeline_parallel > 1:
        other = "pipeline_parallel"
    else:
        return
    yield (
        "args.async-scheduling",
        f"found True, which excludes {other} with VLLM_USE_V2_MODEL_RUNNER=0; drop one",
    )


def _tools(case: Case) -> Iterator[Finding]:
    if case.args.get("enable-auto-tool-choice") and not case.args.get("tool-call-parser"):
        yield (
            "args.enable-auto-tool-choice",
            "found True without tool-call-parser; vLLM exits without one, name the parser",
        )


def _compilation(case: Case) -> Iterator[Finding]:
    config = case.args.get("compilation-config")
    if not isinstance(config, dict):
        return
    passes = config.get("pass_config")
    for old in _OLD_PASSES.keys() & (passes.keys() if isinstance(passes, dict) else ()):
        yield (
            "args.compilation-config",
            f"found pass_config.{old}, gone since vLLM 0.13; now {_OLD_PASSES[old]}, which GB10 "
            "does not gain from: leave it out",
        )
    graphs = config.get("cudagraph_mode", "NONE")
    if graphs not in _GRAPH_MODES:
        yield (
            "args.compilation-config",
            f"found cudagraph_mode {shown(graphs)}, allowed: {', '.join(_GRAPH_MODES)}",
        )


def _speculative(case: Case) -> Iterator[Finding]:
    draft = case.args.get("speculative-config")
    if draft is None:
        return
    if not isinstance(draft, dict):
        yield "args.speculative-config", f"found {shown(draft)}, allowed: a mapping"
    elif "model" in draft:
        yield (
            "args.speculative-config",
            "found a model in it; name it with vllm_speculator, so that it is locked and staged",
        )
    elif "num_speculative_tokens" not in draft:
        yield "args.speculative-config", "num_speculative_tokens is missing, vLLM requires it"
    elif "tensor_parallel_size" in draft:
        yield (
            "args.speculative-config",
            "found tensor_parallel_size, allowed: draft_tensor_parallel_size",
        )


RULES: tuple[Rule, ...] = (
    _names,
    _off,
    _memory,
    _context,
    _needs,
    _one_backend,
    _backend_on_12,
    _quantization,
    _parallel,
    _experts,
    _async,
    _tools,
    _compilation,
    _speculative,
)


def case(
    settings: ServeSettings,
    mode: Mode,
    model: ModelLock,
    speculation: Speculation | None,
    *,
    gpus: int,
) -> Case:
    """All that the rules look at; SettingsError if the lock's facts make no sense."""
    config = read_config(model.config, _lock_place(model)) if model.config else None
    return Case(
        settings=settings,
        mode=mode,
        model=model,
        config=config,
        speculation=speculation,
        args=arguments(settings, mode, config),
        env=environment(settings, mode),
        gpus=gpus,
    )


def _lock_place(model: ModelLock) -> str:
    return f"models/{file_name(model.repo)}: config"
