"""Puts the web root together: <host name>/<path> exactly as the vendors lay it out."""

from pathlib import Path

from lab.supply import dgx, driver, kernel, toolkit, versions
from lab.supply.deb import File, Package, build, link_all, text
from lab.supply.repository import Identity, Site, flat, packages_of, suite

CUDA_FOLDER = {"amd64": "x86_64", "arm64": "sbsa"}
NOBLE = versions.DISTRIBUTION
CUDA_URL = "https://developer.download.nvidia.com/compute/cuda/repos/ubuntu2404/{folder}/"
CUDA_KEYRING = "/usr/share/keyrings/cuda-archive-keyring.gpg"
TOOLKIT_URL = "https://nvidia.github.io/libnvidia-container/stable/deb"
PIN_600 = "".join(
    f"Package: {name}\nPin: {pin}\nPin-Priority: {priority}\n\n"
    for name, pin, priority in (
        ("nsight-compute", "origin *ubuntu.com*", -1),
        ("nsight-systems", "origin *ubuntu.com*", -1),
        ("*", "release l=NVIDIA CUDA", 600),
    )
)


def release_folders(arch: str) -> dict[str, str]:
    """Owner of a signing key -> where below a web root the Release file lies that it signs."""
    dists = f"dists/{NOBLE}"
    return {
        "nvidia": CUDA_URL.format(folder=CUDA_FOLDER[arch]).removeprefix("https://"),
        "toolkit": f"{TOOLKIT_URL.removeprefix('https://')}/{arch}",
        "docker": f"download.docker.com/linux/ubuntu/{dists}",
        "dgx": f"{dgx.HOST}/baseos/ubuntu/{NOBLE}/{dgx.FOLDER[arch]}/{dists}",
        "ubuntu": f"archive.lab/ubuntu/{dists}",
    }


def make(site: Site, pool: Path, docker_debs: Path) -> None:
    """Everything that is served: Debian's packages, Docker under its own names, our stand-ins."""
    cuda_repository(site)
    toolkit_repository(site)
    docker_repository(site, docker_debs / "stable")
    dgx.repository(site, docker_debs / "dgx")
    ubuntu_archive(site, pool)


def cuda_repository(site: Site) -> None:
    folder = CUDA_FOLDER[site.arch]
    here = site.at(f"developer.download.nvidia.com/compute/cuda/repos/ubuntu2404/{folder}")
    build([*driver.cuda(site.arch), keyring(site)], here)
    (here / "3bf863cc.pub").write_bytes(site.keys.armored("nvidia").read_bytes())
    (here / "cuda-archive-keyring.gpg").write_bytes(site.keys.binary("nvidia").read_bytes())
    (here / "cuda-ubuntu2404.pin").write_text(PIN_600)
    flat(here, Identity("nvidia", "NVIDIA", "NVIDIA CUDA"), site.keys)


def keyring(site: Site) -> Package:
    """cuda-keyring: the repository's definition, its key and the priority 600 of all it holds."""
    folder = CUDA_FOLDER[site.arch]
    source = f"deb [signed-by={CUDA_KEYRING}] {CUDA_URL.format(folder=folder)} /\n"
    files = {
        CUDA_KEYRING: File(site.keys.binary("nvidia").read_bytes()),
        f"/etc/apt/sources.list.d/cuda-ubuntu2404-{folder}.list": text(source),
        "/etc/apt/preferences.d/cuda-repository-pin-600": text(PIN_600),
    }
    conffiles = tuple(path for path in files if path.startswith("/etc/"))
    return Package("cuda-keyring", versions.KEYRING, "all", "CUDA repository", {}, files,
                   {}, conffiles)  # fmt: skip


def toolkit_repository(site: Site) -> None:
    base = site.at("nvidia.github.io/libnvidia-container")
    here = site.at(f"nvidia.github.io/libnvidia-container/stable/deb/{site.arch}")
    build(toolkit.packages(site.arch), here)
    (base / "gpgkey").write_bytes(site.keys.armored("toolkit").read_bytes())
    line = f"deb {TOOLKIT_URL}/$(ARCH) /\n"
    (here.parent / "nvidia-container-toolkit.list").write_text(
        line + "#" + line.replace("stable", "experimental")
    )
    label = "NVIDIA CORPORATION <cudatools@nvidia.com>"
    identity = Identity("toolkit", "https://nvidia.github.io/libnvidia-container", label)
    flat(here, identity, site.keys)


def docker_repository(site: Site, debs: Path) -> None:
    base = site.at("download.docker.com/linux/ubuntu")
    pool = f"dists/{NOBLE}/pool/stable/{site.arch}"
    link_all(debs, base / pool)
    (base / "gpg").write_bytes(site.keys.armored("docker").read_bytes())
    identity = Identity("docker", "Docker", "Docker CE", NOBLE, NOBLE, "stable", site.arch)
    suite(base, identity, {"stable": packages_of(base, pool)}, site.keys)


def ubuntu_archive(site: Site, pool: Path) -> None:
    """What a host's base sources point to: kernels, Ubuntu's drivers, and Debian's packages."""
    base = site.at("archive.lab/ubuntu")
    build(kernel.ubuntu(site.arch), base / "pool/main")
    build(driver.ubuntu(site.arch), base / "pool/restricted")
    link_all(pool / "universe", base / "pool/universe")
    universe = (pool / "Packages").read_text()
    pools = {name: packages_of(base, f"pool/{name}") for name in ("main", "restricted")}
    pools["universe"] = universe.replace("\nFilename: universe/", "\nFilename: pool/universe/")
    components = " ".join(pools)
    identity = Identity("ubuntu", "Ubuntu", "Ubuntu", NOBLE, NOBLE, components, site.arch)
    suite(base, identity, pools, site.keys)
