"""Stand-ins for NVIDIA's driver: Ubuntu's packages and those of NVIDIA's CUDA repository.

They have the same names in both; Ubuntu's fit the prebuilt kernel modules, NVIDIA's build by DKMS,
and one transaction cannot hold both. That is modelled because it breaks real installations.
"""

from lab.supply import versions
from lab.supply.deb import File, Package, program, text
from lab.supply.elf import shared_object
from lab.supply.standin import disable, enable, standin

TRIPLET = {"amd64": "x86_64-linux-gnu", "arm64": "aarch64-linux-gnu"}
LIBRARIES = {"libnvidia-ml.so": "1", "libcuda.so": "1", "libnvidia-ptxjitcompiler.so": "1"}
PINNED = "cuda-drivers* nvidia-open* nvidia-driver-* nvidia-modprobe nvidia-settings libnvidia-*"


def ubuntu(arch: str) -> list[Package]:
    """The drivers of Ubuntu's archive, component restricted."""
    found = []
    for driver in versions.UBUNTU_DRIVERS:
        found += family(driver, versions.UBUNTU, arch)
    return found


def cuda(arch: str) -> list[Package]:
    """The CUDA repository: its drivers, what follows the newest branch, pinning, DCGM."""
    found = [_keyring_free_package(branch) for branch in versions.CUDA_OF_BRANCH]
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
    parts = {
        "common": f"nvidia-kernel-common-{branch}", "compute": f"libnvidia-compute-{branch}",
        "cfg": f"libnvidia-cfg1-{branch}", "source": f"nvidia-kernel-source-{branch}-open",
        "tools": f"nvidia-compute-utils-{branch}", "utils": f"nvidia-utils-{branch}",
        "dkms": f"nvidia-dkms-{branch}-open", "firmware": f"nvidia-firmware-{branch}-{driver}",
    }  # fmt: skip

    def package(name: str, about: str, depends: str = "", **more: object) -> Package:
        relations = {"Depends": depends, **more.pop("relations", {})}  # type: ignore[dict-item]
        return Package(name, version, arch, about, relations, section="restricted", **more)  # type: ignore[arg-type]

    modules = f"{parts['dkms']} (>= {driver}), {parts['dkms']} (<= {driver}-{suffix})"
    needs = ", ".join(f"{parts[p]} {same}" for p in ("common", "compute", "cfg", "tools", "utils"))
    return [
        package(parts["firmware"], f"GSP firmware of {driver}"),
        package(parts["common"], "files for the kernel module", f"{parts['firmware']} {same}"),
        package(parts["source"], "kernel module source"),
        package(parts["dkms"], "kernel module, built on the host", f"{parts['source']} {same}, "
                f"{parts['common']} (>= {driver}-{suffix})", files=_dkms_files(driver),
                scripts=_dkms_scripts(driver), relations={"Provides": "nvidia-dkms-kernel"}),
        package(parts["compute"], "NVML and CUDA libraries", files=_libraries(driver, arch),
                relations={"Provides": f"libcuda.so.1 (= {version})"},
                scripts={"triggers": "activate-noawait ldconfig\n"}),
        package(parts["cfg"], "configuration library"),
        package(parts["tools"], "nvidia-persistenced", files=_persistenced(),
                scripts=_unit_scripts("nvidia-persistenced.service")),
        package(parts["utils"], "nvidia-smi", f"{parts['compute']} {same}",
                files={"/usr/bin/nvidia-smi": _smi(driver, branch)}),
        package(f"nvidia-driver-{branch}-open", "driver metapackage, open kernel module",
                f"{needs}, {modules}"),
    ]  # fmt: skip


def _smi(driver: str, branch: str) -> File:
    return program(standin("nvidia-smi", version=driver, cuda=versions.CUDA_OF_BRANCH[branch]))


def _libraries(driver: str, arch: str) -> dict[str, File]:
    folder = f"/usr/lib/{TRIPLET[arch]}"
    return {
        f"{folder}/{name}.{driver}": File(shared_object(f"{name}.{number}", arch))
        for name, number in LIBRARIES.items()
    }


def _persistenced() -> dict[str, File]:
    unit = "/usr/lib/systemd/system/nvidia-persistenced.service"
    return {unit: text(standin("nvidia-persistenced.service")),
            "/usr/bin/nvidia-persistenced": program("#!/bin/sh\n# Lab stand-in\n")}  # fmt: skip


def _unit_scripts(unit: str) -> dict[str, str]:
    return {"postinst": enable(unit), "prerm": disable(unit)}


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
    tool = {"/usr/bin/nvidia-modprobe": program("#!/bin/sh\n# Lab stand-in\n")}
    return [
        Package("nvidia-modprobe", version, arch, "loads the module", files=tool),
        Package("nvidia-open", version, arch, "newest open driver", open_driver),
        Package(f"nvidia-open-{branch}", version, arch, "open driver", open_driver),
        Package("cuda-drivers", version, arch, "newest driver", open_driver),
        Package(f"cuda-drivers-{branch}", version, arch, "driver", open_driver),
    ]


def _keyring_free_package(branch: str) -> Package:
    """nvidia-driver-pinning-<branch>: keeps apt on one branch."""
    pin = f"Package: {PINNED}\nPin: version {branch}.*\nPin-Priority: 1001\n"
    path = f"/etc/apt/preferences.d/nvidia-driver-pinning-{branch}"
    others = ", ".join(
        f"nvidia-driver-pinning-{o}" for o in versions.CUDA_OF_BRANCH if o != branch
    )
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
