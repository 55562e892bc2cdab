"""A platform plugin of vLLM: its CPU platform under another class, on which Ray can place ranks.

A stand-in for a host's GPU, which Ray counts: vLLM's own CPU platform names nothing to count.
"""


def platform() -> str:
    """The class, by name: vLLM imports it once it has asked all plugins."""
    return "lab_ray_platform.cpu.RayCpuPlatform"
