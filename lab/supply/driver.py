"""Stand-ins for NVIDIA's driver: Ubuntu's packages and those of NVIDIA's CUDA repository.

They have the same names in both; Ubuntu's fit the prebuilt kernel modules, NVIDIA's build by DKMS,
and one transaction cannot hold both. That is modelled because it breaks real installations.
"""

from dataclasses import replace

from lab.supply import versions
from lab.supply.deb import File, Package, program, text
from lab.supply.elf import shared_object
from lab.supply.standin import disable, enable, standin

TRIPLET = {"amd64": "x86_64-linux-gnu", "arm64": "aarch64-linux-gnu"}
LIBRARIES = {"libnvidia-ml.so": "1", "libcuda.so": "1", "libnvidia-ptxjitcompiler.so": "1"}
PERSISTENCED = "nvidia-persistenced.service"
NOTHING = "#!/bin/sh\n# Lab stand-in: there is nothing to do without a GPU\n"
PINNED = "cuda-drivers* nvidia-open* nvidia-driver-* nvidia-modprobe nvidia-settings libnvidia-*"


def ubuntu(arch: str) -> list[Package]:
    """The drivers of Ubuntu's archive, component restricted."""
    found = []
    for driver in versions.UBUNTU_DRIVERS:
        found += family(driver, versions.UBUNTU, arch)
    return found


def cuda(arch: str) -> list[Package]:
    """The CUDA repository: its drivers, what follows the newest branch, pinning, DCGM."""
    found = [pinning(branch) for branch in versions.CUDA_OF_BRANCH]
    for driver in versions.CUDA_DRIVERS:
        version = f"{driver}-{versions.CUDA}"
        found += family(driver, versions.CUDA, arch) + followers(driver, version, arch)
    return found + dcgm(arch)


def module_text(driver: str, signer: str) -> str:
    """A lab kernel module: the lines that modinfo prints."""
    return (
        f"version:        {driver}\nlicense:        Dual MIT/GPL\nfirmware:       nvidia/{driver}/"
        f"gsp_ga10x.bin\nsigner:         {signer}\n"
    )


def family(driver: str, suffix: str, arch: str) -> list[Package]:
    """The packages of one driver version that depend on each other by version."""
    branch, version = driver.split(".")[0], f"{driver}-{suffix}"
    same = f"(= {version})"
    common, compute = f"nvidia-kernel-common-{branch}", f"libnvidia-compute-{branch}"
    cfg, source = f"libnvidia-cfg1-{branch}", f"nvidia-kernel-source-{branch}-open"
    tools, utils = f"nvidia-compute-utils-{branch}", f"nvidia-utils-{branch}"
    dkms, firmware = f"nvidia-dkms-{branch}-open", f"nvidia-firmware-{branch}-{driver}"
    needs = ", ".join(f"{name} {same}" for name in (common, compute, cfg, tools, utils))
    module = f"{dkms} (>= {driver}), {dkms} (<= {version})"  # prebuilt modules provide it too
    packages = [
        Package(firmware, version, arch, f"GSP firmware of {driver}"),
        Package(common, version, arch, "files for the module", {"Depends": f"{firmware} {same}"}),
        Package(source, version, arch, "kernel module source"),
        Package(cfg, version, arch, "configuration library"),
        Package(dkms, version, arch, "kernel module, built on the host",
                {"Depends": f"{source} {same}, {common} {same}", "Provides": "nvidia-dkms-kernel"},
                _dkms_files(driver), _dkms_scripts(driver)),
        Package(compute, version, arch, "NVML and CUDA libraries",
                {"Provides": f"libcuda.so.1 (= {version})"}, _libraries(driver, arch),
                {"triggers": "activate-noawait ldconfig\n"}),
        Package(tools, version, arch, "nvidia-persistenced", {}, _persistenced(),
                {"postinst": enable(PERSISTENCED), "prerm": disable(PERSISTENCED)}),
        Package(utils, version, arch, "nvidia-smi", {"Depends": f"{compute} {same}"},
                {"/usr/bin/nvidia-smi": _smi(driver, branch)}),
        Package(f"nvidia-driver-{branch}-open", version, arch, "driver, open kernel module",
                {"Depends": f"{needs}, {module}"}),
    ]  # fmt: skip
    return [replace(package, section="restricted") for package in packages]


def _smi(driver: str, branch: str) -> File:
    return program(standin("nvidia-smi", version=driver, cuda=versions.CUDA_OF_BRANCH[branch]))


def _libraries(driver: str, arch: str) -> dict[str, File]:
    folder = f"/usr/lib/{TRIPLET[arch]}"
    return {
        f"{folder}/{name}.{driver}": File(shared_object(f"{name}.{number}", arch))
        for name, number in LIBRARIES.items()
    }


def _persistenced() -> dict[str, File]:
    return {
        f"/usr/lib/systemd/system/{PERSISTENCED}": text(standin(PERSISTENCED)),
        "/usr/bin/nvidia-persistenced": program(NOTHING),
    }


def _dkms_files(driver: str) -> dict[str, File]:
    module = module_text(driver, "lab Secure Boot Module Signature key")
    return {f"/usr/src/nvidia-{driver}/nvidia.ko": text(module)}


def _dkms_scripts(driver: str) -> dict[str, str]:
    """Builds (copies) the module for every kernel that is installed, as DKMS does."""
    place = '"$kernel/updates/dkms"'
    build = (
        "#!/bin/sh\nset -e\nfor kernel in /lib/modules/*-nvidia /lib/modules/*-generic; do\n"
        f'  [ -d "$kernel/kernel" ] || continue\n  mkdir -p {place}\n'
        f"  cp /usr/src/nvidia-{driver}/nvidia.ko {place}\ndone\n"
    )
    clear = "#!/bin/sh\nset -e\nrm -rf /lib/modules/*/updates/dkms/nvidia.ko\n"
    return {"postinst": build, "prerm": clear}


def followers(driver: str, version: str, arch: str) -> list[Package]:
    """Packages without a branch in their name: unpinned, apt takes the newest of them."""
    branch = driver.split(".")[0]
    open_driver = {"Depends": f"nvidia-driver-{branch}-open (= {version})"}
    tool = {"/usr/bin/nvidia-modprobe": program(NOTHING)}
    return [
        Package("nvidia-modprobe", version, arch, "loads the module", files=tool),
        Package("nvidia-open", version, arch, "newest open driver", open_driver),
        Package(f"nvidia-open-{branch}", version, arch, "open driver", open_driver),
        Package("cuda-drivers", version, arch, "newest driver", open_driver),
        Package(f"cuda-drivers-{branch}", version, arch, "driver", open_driver),
    ]


def pinning(branch: str) -> Package:
    """nvidia-driver-pinning-<branch>: keeps apt on one branch (what its file says is ours)."""
    pin = f"Package: {PINNED}\nPin: version {branch}.*\nPin-Priority: 1001\n"
    path = f"/etc/apt/preferences.d/nvidia-driver-pinning-{branch}"
    names = (f"nvidia-driver-pinning-{other}" for other in versions.CUDA_OF_BRANCH)
    others = ", ".join(name for name in names if not name.endswith(branch))
    return Package(f"nvidia-driver-pinning-{branch}", f"{branch}-1", "all", "pins the branch",
                   {"Conflicts": others}, {path: text(pin)}, conffiles=(path,))  # fmt: skip


def dcgm(arch: str) -> list[Package]:
    """Data Center GPU Manager: only its names and its unit."""
    unit = "nvidia-dcgm.service"
    files = {f"/usr/lib/systemd/system/{unit}": text(standin(unit))}
    same = f"datacenter-gpu-manager-4-core (= {versions.DCGM})"
    return [
        Package("datacenter-gpu-manager-4-core", versions.DCGM, arch, "DCGM", files=files),
        Package("datacenter-gpu-manager-4-cuda13", versions.DCGM, arch, "DCGM", {"Depends": same}),
    ]
