"""What a GB10 is, as far as modes depend on it."""

CAPABILITY = (12, 1)  # vllm/engine/arg_utils.py singles it out
GPU_GIB = 119.7  # what CUDA calls the GPU's memory; MemTotal is about 121.7, the same chips
GPUS = 1  # per host
