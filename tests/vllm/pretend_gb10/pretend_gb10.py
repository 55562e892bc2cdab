"""A stub GPU: vLLM's own CUDA platform rules for a GB10, without driver, GPU or kernels.

vLLM finds it by the entry point in the metadata beside this file (group vllm.platform_plugins)
when this folder is on PYTHONPATH. It can be configured for, never run on. Written for vLLM 0.33.0;
another version may want more names stubbed. Figures: compute capability (12, 1), 48 SMs, 119.7 GiB
seen by CUDA, memory shared with the CPU.
"""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import sys
import types

COMPILED = (
    "vllm._C",
    "vllm._moe_C",
    "vllm._deepselect",
    "vllm._flashkda",
    "vllm._flashmla",
    "vllm._qutlass",
    "vllm.cumem_allocator",
    "vllm.vllm_flash_attn",
)
ASKED_AT_IMPORT = (
    "cutlass_group_gemm_supported",
    "cutlass_scaled_mm_supports_block_fp8",
    "cutlass_scaled_mm_supports_fp4",
    "cutlass_scaled_mm_supports_fp8",
    "cutlass_sparse_scaled_mm_supported",
)


class Compiled(types.ModuleType):
    """A compiled module of vLLM: every public name is a function that does nothing."""

    def __getattr__(self, name: str) -> object:
        if name.startswith("__"):
            raise AttributeError(name)
        return lambda *args, **kwargs: None


class CompiledFinder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Answers the imports of vLLM's compiled modules."""

    def find_spec(self, name, path=None, target=None):
        if name.startswith(COMPILED):
            return importlib.machinery.ModuleSpec(name, self, is_package=True)
        return None

    def create_module(self, spec):
        return Compiled(spec.name)

    def exec_module(self, module):
        module.__path__ = []


sys.meta_path.insert(0, CompiledFinder())

import torch  # noqa: E402
from vllm.platforms import cuda  # noqa: E402
from vllm.platforms.interface import DeviceCapability  # noqa: E402

OPERATORS = torch.library.Library("_C", "FRAGMENT")
for operator in ASKED_AT_IMPORT:
    OPERATORS.define(f"{operator}(int cuda_device_capability) -> bool")
    OPERATORS.impl(operator, lambda capability: True, "CompositeExplicitAutograd")


class Properties:
    """What torch.cuda says of a GB10."""

    name = "NVIDIA GB10"
    major, minor = 12, 1
    total_memory = int(119.7 * 2**30)
    multi_processor_count = 48
    shared_memory_per_block_optin = 101376
    warp_size = 32
    is_integrated = True
    gcnArchName = ""


torch.cuda.get_device_properties = lambda *args, **kwargs: Properties
torch.cuda.get_device_capability = lambda *args, **kwargs: (12, 1)
torch.cuda.device_count = lambda: 1


class PretendGB10(cuda.NonNvmlCudaPlatform):
    """One integrated GPU of compute capability (12, 1)."""

    @classmethod
    def get_device_capability(cls, device_id=0):
        return DeviceCapability(12, 1)

    @classmethod
    def get_device_name(cls, device_id=0):
        return Properties.name

    @classmethod
    def get_device_total_memory(cls, device_id=0):
        return Properties.total_memory

    @classmethod
    def is_fully_connected(cls, physical_device_ids):
        return False

    @classmethod
    def is_integrated_gpu(cls, device_id=0):
        return True

    @classmethod
    def device_count(cls):
        return 1

    @classmethod
    def log_warnings(cls):
        """Nothing to warn of: there is no driver."""

    @classmethod
    def import_kernels(cls):
        """There are none."""


def plugin() -> str:
    """vLLM's question: which class is the platform?"""
    return "pretend_gb10.PretendGB10"
