"""The lab's hosts: the first two serve the real vLLM, its CPU build, the others the stand-in."""

from lab.inventory import _state
from lab.inventory import spark as _all

_REAL = 2

spark = [
    (name, {**data, "vllm_image": _state.images["vllm-cpu" if i < _REAL else "vllm-standin"]})
    for i, (name, data) in enumerate(_all)
]
