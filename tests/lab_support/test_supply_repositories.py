"""The stand-in repositories are repositories to a real apt, and real installations' traps hold."""

import runpy
import subprocess
import tarfile
from pathlib import Path

import pytest

from lab.supply import versions
from lab.supply.deb import Package, build, text
from lab.supply.elf import shared_object
from lab.supply.keys import Keys
from tests.lab_support.conftest import Apt

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
CUDA = (
    "deb {options} {web}/developer.download.nvidia.com/compute/cuda/repos/ubuntu2404/x86_64/ /",
    "nvidia",
)
TOOLKIT = ("deb {options} {web}/nvidia.github.io/libnvidia-container/stable/deb/amd64 /", "toolkit")
DOCKER = ("deb {options} {web}/download.docker.com/linux/ubuntu noble stable", "docker")
DGX = (
    "deb {options} {web}/repo.download.nvidia.com/baseos/ubuntu/noble/x86_64 noble common dgx",
    "dgx",
)
UBUNTU = ("deb {options} {web}/archive.lab/ubuntu noble main restricted universe", "ubuntu")
ALL = {"cuda": CUDA, "toolkit": TOOLKIT, "docker": DOCKER, "dgx": DGX, "ubuntu": UBUNTU}
PREBUILT = f"linux-modules-nvidia-580-open-{versions.KERNELS[0].release}"


def define(apt: Apt, keys: Keys, *names: str) -> None:
    for name in names:
        line, owner = ALL[name]
        apt.define(name, line, keys.binary(owner))
    done = apt.update()
    assert done.returncode == 0, done.stderr


def pin(apt: Apt, *pins: tuple[str, str]) -> None:
    text = "\n".join(f"Package: {p}\nPin: version {v}\nPin-Priority: 1002\n" for p, v in pins)
    (apt.root / "preferences.d/pins").write_text(text)


def test_every_repository_verifies_with_its_vendors_key(apt: Apt, signing: Keys) -> None:
    define(apt, signing, *ALL)


@pytest.mark.parametrize("name", ALL)
def test_a_repository_is_refused_with_another_key(apt: Apt, signing: Keys, name: str) -> None:
    apt.define(name, ALL[name][0], signing.binary("stranger"))
    assert apt.update().returncode == 100


def test_fingerprints_are_those_of_the_published_keys(signing: Keys, shared_web: Path) -> None:
    key = shared_web / "nvidia.github.io/libnvidia-container/gpgkey"
    words = ["gpg", "--show-keys", "--with-colons", str(key)]
    shown = subprocess.run(words, capture_output=True, text=True)
    assert f":{signing.fingerprint('toolkit')}:" in shown.stdout
    assert len({signing.fingerprint(owner) for owner in ("nvidia", "toolkit", "docker")}) == 3


def test_unpinned_apt_takes_the_newest_branch(apt: Apt, signing: Keys) -> None:
    define(apt, signing, "cuda")
    assert apt.plan("nvidia-open")["nvidia-open"] == "610.43.02-1ubuntu1"


def test_the_pinning_package_keeps_the_branch(apt: Apt, signing: Keys, tmp_path: Path) -> None:
    define(apt, signing, "cuda")
    (deb,) = apt.web.rglob("nvidia-driver-pinning-580_*.deb")
    subprocess.run(["dpkg-deb", "-x", deb, tmp_path / "x"], check=True)
    pins = tmp_path / "x/etc/apt/preferences.d/nvidia-driver-pinning-580"
    (apt.root / "preferences.d/pinning").write_text(pins.read_text())
    plan = apt.plan("nvidia-open", "nvidia-modprobe")
    assert plan["nvidia-open"] == plan["nvidia-modprobe"] == "580.178.04-1ubuntu1"


def test_prebuilt_module_and_cuda_driver_exclude_each_other(apt: Apt, signing: Keys) -> None:
    define(apt, signing, "cuda", "ubuntu")
    pinned = f"{PREBUILT}={versions.KERNELS[0].modules}"
    common = "nvidia-kernel-common-580"
    assert apt.plan(pinned, f"{common}={versions.DRIVER}-1ubuntu1") == {}
    assert common in apt.plan(pinned, f"{common}={versions.DRIVER}-0ubuntu0.24.04.1",
                              f"nvidia-firmware-580-{versions.DRIVER}={versions.DRIVER}-"
                              "0ubuntu0.24.04.1")  # fmt: skip


def test_pinned_kernel_and_driver_install_without_dkms(apt: Apt, signing: Keys) -> None:
    define(apt, signing, "cuda", "ubuntu")
    kernel = versions.KERNELS[0]
    pin(apt, ("libnvidia-*-580 nvidia-*-580 nvidia-*-580-open nvidia-firmware-580-*",
              f"{versions.DRIVER}-0ubuntu*"),
        ("linux-*-nvidia-hwe-24.04 linux-nvidia-hwe-24.04 linux-*-6.17.0-1032-nvidia",
         kernel.version))  # fmt: skip
    plan = apt.plan("linux-nvidia-hwe-24.04", PREBUILT, "nvidia-driver-580-open")
    assert plan["linux-image-6.17.0-1032-nvidia"] == kernel.version
    assert plan["nvidia-utils-580"] == f"{versions.DRIVER}-0ubuntu0.24.04.1"
    assert "nvidia-dkms-580-open" not in plan


def test_without_a_pin_the_kernel_that_breaks_roce_is_the_newest(apt: Apt, signing: Keys) -> None:
    define(apt, signing, "ubuntu")
    assert "linux-image-7.0.0-1019-nvidia" in apt.plan("linux-nvidia-hwe-24.04")


def test_toolkit_packages_fit_only_their_own_version(apt: Apt, signing: Keys) -> None:
    define(apt, signing, "toolkit")
    names = ("nvidia-container-toolkit", "nvidia-container-toolkit-base",
             "libnvidia-container-tools", "libnvidia-container1")  # fmt: skip
    older = [f"{name}=1.19.1-1" for name in names]
    assert set(apt.plan(*older).values()) == {"1.19.1-1"}
    assert apt.plan(*older[:1]) == {}


def test_cuda_keyring_defines_the_real_address(shared_web: Path, tmp_path: Path) -> None:
    (deb,) = shared_web.rglob("cuda-keyring_1.1-1_all.deb")
    subprocess.run(["dpkg-deb", "-x", deb, tmp_path], check=True)
    (source,) = (tmp_path / "etc/apt/sources.list.d").iterdir()
    assert source.read_text().split("] ")[1] == (
        "https://developer.download.nvidia.com/compute/cuda/repos/ubuntu2404/x86_64/ /\n"
    )


def test_dgx_bundle_points_where_nothing_is(shared_web: Path) -> None:
    (bundle,) = shared_web.rglob("dgx-repo-files.tgz")
    with tarfile.open(bundle) as tar:
        member = tar.extractfile("etc/apt/sources.list.d/dgx.sources")
        assert member is not None
        text = member.read().decode()
    address = next(line.split()[1] for line in text.splitlines() if line.startswith("URIs:"))
    assert "/baseos/8/" in address
    assert not (shared_web / address.removeprefix("https://")).exists()
    assert (shared_web / address.removeprefix("https://").replace("/8/", "/")).is_dir()


def test_packages_are_the_same_bytes_every_time(tmp_path: Path) -> None:
    package = Package("a", "1", "all", "nothing", files={"/etc/a": text("x")})
    for name in ("one", "two"):
        build([package], tmp_path / name)
    one, two = (next((tmp_path / name).glob("*.deb")).read_bytes() for name in ("one", "two"))
    assert one == two


def test_ldconfig_links_the_stand_in_library(tmp_path: Path) -> None:
    content = shared_object("libnvidia-ml.so.1", "amd64")
    (tmp_path / "libnvidia-ml.so.580.159.03").write_bytes(content)
    subprocess.run(["ldconfig", "-n", tmp_path], check=True)
    assert (tmp_path / "libnvidia-ml.so.1").readlink().name == "libnvidia-ml.so.580.159.03"


def test_the_products_pins_are_what_the_lab_has() -> None:
    pins = runpy.run_path(str(ROOT / "group_data/all.py"))
    kernel = versions.KERNELS[0]
    assert (pins["kernel_version"], pins["kernel_modules_version"], pins["driver_version"]) == (
        kernel.version,
        kernel.modules,
        kernel.driver,
    )
    assert pins["toolkit_version"] in versions.TOOLKITS
    docker = (pins["docker_version"], pins["containerd_version"], pins["compose_version"])
    pinned = versions.DOCKER
    assert docker == (pinned.engine, pinned.containerd, pinned.compose)
