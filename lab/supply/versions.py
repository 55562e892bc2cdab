"""Every version the lab's repositories carry, in one place; the pins of group_data name them.

Version strings are the vendors' own where a public record shows them: Docker's five were installed
together on Ubuntu 24.04 in September 2026, the driver's and kernel's come from package lists of
GB10 owners. Which driver a kernel's prebuilt module holds is the lab's choice where noted.
"""

from dataclasses import dataclass

DISTRIBUTION = "noble"  # what a host says it is
UBUNTU = "0ubuntu0.24.04.1"  # packaging suffix in Ubuntu's archive
CUDA = "1ubuntu1"  # packaging suffix in NVIDIA's CUDA repository

DRIVER = "580.159.03"  # the pin
UBUNTU_DRIVERS = (DRIVER, "580.173.02", "580.178.04")
CUDA_DRIVERS = (DRIVER, "580.178.04", "590.48.01", "610.43.02")
CUDA_OF_BRANCH = {"580": "13.0", "590": "13.1", "610": "13.3"}  # "CUDA Version" of nvidia-smi
DCGM = "1:4.6.1-1"
KEYRING = "1.1-1"


@dataclass(frozen=True)
class Kernel:
    """One NVIDIA kernel of Ubuntu's archive and the driver its prebuilt module was built from."""

    release: str  # uname -r
    version: str  # of the linux-image and linux-nvidia-hwe-24.04 packages
    modules: str  # of the linux-modules-nvidia-580-open packages
    driver: str


# The first is the pin. That 1032's module exists for 580.159.03 is the lab's choice; a rebuild
# for a newer driver gets the suffix +1, as Ubuntu names it.
KERNELS = (
    Kernel("6.17.0-1032-nvidia", "6.17.0-1032.32", "6.17.0-1032.32", DRIVER),
    Kernel("6.17.0-1032-nvidia", "6.17.0-1032.32", "6.17.0-1032.32+1", "580.178.04"),
    Kernel("6.17.0-1021-nvidia", "6.17.0-1021.21", "6.17.0-1021.21", DRIVER),
    Kernel("7.0.0-1019-nvidia", "7.0.0-1019.19~24.04.2", "7.0.0-1019.19~24.04.2", "580.178.04"),
    Kernel("6.17.0-1035-nvidia", "6.17.0-1035.35", "6.17.0-1035.35", "580.178.04"),
)

TOOLKITS = ("1.20.0-1", "1.19.1-1")


@dataclass(frozen=True)
class Docker:
    """Versions of Docker's packages that belong together."""

    engine: str
    containerd: str
    compose: str
    buildx: str


def _docker(engine: str, containerd: str, compose: str, buildx: str) -> Docker:
    tail = f"1~ubuntu.24.04~{DISTRIBUTION}"
    return Docker(
        f"5:{engine}-{tail}", f"{containerd}-{tail}", f"{compose}-{tail}", f"{buildx}-{tail}"
    )


DOCKER = _docker("29.8.0", "2.3.5", "5.5.1", "0.37.1")  # the pin
DOCKER_NEWER = _docker("29.8.2", "2.3.6", "5.6.0", "0.37.2")
DOCKER_DGX = _docker("29.2.1", "2.2.1", "5.0.2", "0.31.1")  # what DGX OS 7.5.0 brings
TOOLKIT_DGX = "1.19.1-1"
