"""Under which names vLLM's log tells the kernels that an option asks for; those of 0.33.

Only names that are not the option's own are listed, and only of NVIDIA's GPUs.
"""

from __future__ import annotations

# --moe-backend: fused_moe/oracle/{fp8,mxfp4,mxfp8,nvfp4,int_wna16,unquantized}.py, where an option
# is mapped to values, and quantization/utils/humming/moe.py, which names classes. Lower case.
_MOE = {
    "b12x": {"b12x_mxfp4_bf16", "b12x_mxfp4_mxfp8"},
    "cutlass": {"vllm_cutlass", "batched_vllm_cutlass"},
    "deep_gemm": {"deepgemm", "batched_deepgemm", "deepgemm_mxfp4"},
    "flashinfer_cutedsl": {"flashinfer_cutedsl_batched"},
    "flashinfer_cutlass": {"flashinfer_cutlass_mxfp4_bf16", "flashinfer_cutlass_mxfp4_mxfp8"},
    "flashinfer_moe_ep_mega_deep_gemm": {"flashinfer_moe_ep_deep_gemm"},
    "flashinfer_trtllm": {"flashinfer_trtllm_mxfp4_bf16", "flashinfer_trtllm_mxfp4_mxfp8"},
    "humming": {"batchedhumminggroupedexperts", "humminggroupedexperts", "hummingindexedexperts"},
    "marlin": {"batched_marlin"},
    "triton": {"batched_triton", "triton_mxfp8"},
}
# --linear-backend: _LINEAR_BACKEND_KERNEL_MAP of kernels/linear/__init__.py. A kernel that is not
# listed has its option in its name.
_LINEAR = {
    "flashinfer_b12x": {"FlashInferB12xNvFp4LinearKernel"},
    "flashinfer_cutlass": {
        "FlashInferCutlassMxfp8LinearKernel",
        "FlashInferCutlassNvFp4LinearKernel",
        "FlashInferFP8ScaledMMLinearKernel",
        "FlashInferFp8DeepGEMMDynamicBlockScaledKernel",
        "FlashInferMxFp4LinearKernel",
    },
}


def is_moe(option: str, told: str) -> bool:
    """Whether ``told`` in a line about experts is a kernel of the MoE backend ``option``."""
    told = told.lower()
    return told == option or told in _MOE.get(option, set())


def is_linear(option: str, kernel: str) -> bool:
    """Whether ``kernel``, a class, is one of the linear backend ``option``."""
    if listed := [name for name, kernels in _LINEAR.items() if kernel in kernels]:
        return option in listed
    return option.replace("_", "") in kernel.lower()
