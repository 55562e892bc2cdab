"""How ranks on different hosts talk: vLLM takes ranks of one name for ranks of one host."""

from vllm.distributed.device_communicators import (  # type: ignore[import-not-found]
    cpu_communicator,
)


class NetworkCommunicator(cpu_communicator.CpuCommunicator):
    """Over Gloo, never over shared memory."""

    def _all_group_ranks_share_shm_group_name(self) -> bool:
        return False
