"""Kernels, formats and GPUs that do not go together on a GB10, compute capability 12.1."""

from __future__ import annotations

from collections.abc import Iterator

from fleet.case import Case, Finding, Rule
from fleet.problems import shown

_NOT_ON_12 = {
    "FLASHINFER_MLA": "10.x",
    "CUTLASS_MLA": "10.x",
    "TOKENSPEED_MLA": "10.x",
    "FLASHMLA": "9.x and 10.x",
    "FLASHMLA_SPARSE": "9.x and 10.x",
    "FLASH_ATTN_MLA": "9.x",
}


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


def _float32(case: Case) -> Iterator[Finding]:
    own = case.config.quantization if case.config else None
    wish = case.args.get("dtype")
    if own and own.method in ("fp8", "modelopt") and wish in ("float32", "float"):
        yield (
            "args.dtype",
            f"found {wish}, but {case.model.repo} has {own.method} weights, for which vLLM allows: "
            "bfloat16, float16",
        )


def _parallel(case: Case) -> Iterator[Finding]:
    settings = case.settings
    sizes = {
        "tensor_parallel": settings.tensor_parallel,
        "pipeline_parallel": settings.pipeline_parallel,
        "data_parallel": settings.data_parallel,
    }
    wanted = settings.gpus
    if wanted != case.gpus:
        key = max(sizes, key=lambda name: sizes[name])
        yield (
            key,
            f"found {sizes[key]}, in all {wanted} GPUs; the replica has {case.gpus} "
            "(one for each GB10 host): allowed are sizes whose product is just that",
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


RULES: tuple[Rule, ...] = (
    _needs,
    _one_backend,
    _backend_on_12,
    _quantization,
    _float32,
    _parallel,
    _experts,
    _async,
)
