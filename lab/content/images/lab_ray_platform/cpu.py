"""vLLM's CPU platform with the two differences that ranks on several hosts under Ray need."""

from vllm.platforms.cpu import CpuPlatform  # type: ignore[import-not-found]


class RayCpuPlatform(CpuPlatform):
    """Ray counts a "GPU" for each host, as ``ray start --num-gpus=1`` says."""

    ray_device_key = "GPU"

    @classmethod
    def get_device_communicator_cls(cls) -> str:
        """The ranks are on different hosts."""
        return "lab_ray_platform.communicator.NetworkCommunicator"
