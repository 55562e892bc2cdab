"""What hosts install from: real addresses, packages that behave like the real ones, refusals."""

import json

import pytest

from lab.supply import prepare, tamper, versions
from lab.testing import Lab

HOST = "spark-01"
CUDA = "https://developer.download.nvidia.com/compute/cuda/repos/ubuntu2404/x86_64/"
TOOLKIT = "https://nvidia.github.io/libnvidia-container"
DOCKER = "https://download.docker.com/linux/ubuntu"
KERNEL = versions.KERNELS[0]
QUERY = "nvidia-smi --format=csv,noheader --query-gpu="
SOURCES = {
    "cuda": f"deb [signed-by=/etc/apt/keyrings/cuda.asc] {CUDA} /",
    "toolkit": f"deb [signed-by=/etc/apt/keyrings/toolkit.asc] {TOOLKIT}/stable/deb/amd64 /",
    "docker": f"deb [signed-by=/etc/apt/keyrings/docker.asc] {DOCKER} noble stable",
}
KEYS = {"cuda": f"{CUDA}3bf863cc.pub", "toolkit": f"{TOOLKIT}/gpgkey", "docker": f"{DOCKER}/gpg"}
COMPOSE = """\
services:
  gpu:
    image: t
    command: ["sleep", "60"]
    ulimits: {memlock: -1}
    deploy:
      resources:
        reservations:
          devices: [{driver: cdi, device_ids: ["nvidia.com/gpu=all"], capabilities: [gpu]}]
"""
# An image of the shell and the few programs that the stand-in nvidia-smi uses.
IMAGE = (
    "cd $(mktemp -d) && mkdir -p usr/bin && ln -s usr/bin bin && "
    "programs=$(which sh sed date tr tail cat ls sleep) && cp -L $programs usr/bin && "
    "cp -L --parents $(ldd $programs | grep -o '/lib[^ ]*' | sort -u) . && "
    "tar -c . | docker import - t"
)


def pins(driver: str, modules: str) -> str:
    """apt preferences for one driver and the kernel module that fits it."""
    records = {
        "libnvidia-*-580 nvidia-*-580*": f"{driver}-0ubuntu*",
        "linux-modules-nvidia-*": modules,
        "linux-*": KERNEL.version,
    }
    return "\n".join(
        f"Package: {names}\nPin: version {version}\nPin-Priority: 1002\n"
        for names, version in records.items()
    )


def install(lab: Lab, *packages: str) -> None:
    lab.run(HOST, "apt-get update -qq -o APT::Update::Error-Mode=any")
    lab.run(HOST, f"DEBIAN_FRONTEND=noninteractive apt-get install -y -qq {' '.join(packages)}")


@pytest.fixture(scope="module")
def defined(lab: Lab) -> Lab:
    """A bare host that knows the vendors' repositories and the pins."""
    for name, line in SOURCES.items():
        lab.run(HOST, f"curl -fsS --create-dirs -o /etc/apt/keyrings/{name}.asc {KEYS[name]}")
        lab.write(HOST, f"/etc/apt/sources.list.d/{name}.list", line + "\n")
    lab.write(HOST, "/etc/apt/preferences.d/pins", pins(KERNEL.driver, KERNEL.modules))
    return lab


@pytest.fixture(scope="module")
def driven(defined: Lab) -> Lab:
    """With kernel and driver, installed and booted."""
    modules = f"linux-modules-nvidia-580-open-{KERNEL.release}"
    install(defined, "linux-nvidia-hwe-24.04", modules)
    install(defined, "nvidia-driver-580-open")
    assert defined.run(HOST, "nvidia-smi", check=False).returncode == 9
    defined.reboot(HOST)
    return defined


def test_nothing_but_the_gate_is_reached(defined: Lab) -> None:
    assert defined.run(HOST, "curl -sS -m 3 https://example.org", check=False).returncode == 6
    assert defined.run(HOST, "curl -sS -m 3 http://192.0.2.1", check=False).returncode == 7
    proxied = "curl -s -o /dev/null -w '%{http_code}' -x http://control:3142 http://example.org/"
    assert defined.text(HOST, proxied) == "403"


@pytest.mark.parametrize("owner", ["nvidia", "toolkit", "docker"])
def test_a_spoilt_repository_is_refused_and_good_again(defined: Lab, owner: str) -> None:
    update = "apt-get update -qq -o APT::Update::Error-Mode=any"
    supply = prepare("amd64")
    with tamper.spoilt(defined.state.run, supply, owner, tamper.other_key):
        assert defined.run(HOST, update, check=False).returncode == 100
    assert defined.run(HOST, update).returncode == 0


def test_every_request_is_logged(defined: Lab) -> None:
    defined.run(HOST, f"curl -s {DOCKER}/gpg?counted")
    lines = (defined.state.run / "gate.log").read_text().splitlines()
    kept = [json.loads(line) for line in lines if "counted" in line]
    assert [(e["host"], e["status"]) for e in kept] == [("download.docker.com", 200)]


def test_kernel_and_driver_take_effect_with_a_reboot(driven: Lab) -> None:
    assert driven.text(HOST, "uname -r") == KERNEL.release
    fields = "name,driver_version,compute_cap,memory.total,power.limit,persistence_mode"
    shown = driven.text(HOST, QUERY + fields)
    assert shown == f"NVIDIA GB10, {KERNEL.driver}, 12.1, [N/A], [N/A], Enabled"
    assert "Not Supported" in driven.text(HOST, "nvidia-smi")
    assert driven.text(HOST, "modinfo -F signer nvidia").startswith("Canonical")


@pytest.mark.parametrize(
    ("fault", "status", "said"),
    [
        ("not-loaded", 9, "couldn't communicate with the NVIDIA driver"),
        ("mismatch", 18, "Driver/library version mismatch"),
        ("no-devices", 6, "No devices were found"),
        ("unknown", 255, "Failed to initialize NVML: Unknown Error"),
    ],
)
def test_faults_of_a_gpu(driven: Lab, fault: str, status: int, said: str) -> None:
    driven.write(HOST, "/etc/lab/gpu.conf", f"fault={fault}\n")
    done = driven.run(HOST, "nvidia-smi -L", check=False)
    driven.run(HOST, "rm /etc/lab/gpu.conf")
    assert (done.returncode, said in done.stdout) == (status, True)


def test_a_container_sees_the_gpu_by_cdi_and_a_driver_upgrade_takes_it_away(driven: Lab) -> None:
    install(driven, "nvidia-container-toolkit", "docker-ce", "docker-compose-plugin")
    driven.write(HOST, "/etc/docker/daemon.json", '{"features": {"cdi": true}}')
    driven.run(HOST, f"systemctl restart docker && {IMAGE}")
    driven.write(HOST, "/root/compose.yaml", COMPOSE)
    driven.run(HOST, "cd /root && docker compose up -d")
    assert "NVIDIA GB10" in driven.text(HOST, "docker exec root-gpu-1 nvidia-smi -L")
    driven.run(HOST, "cd /root && docker compose down -t 0")

    newer = next(k for k in versions.KERNELS if k.modules.endswith("+1"))
    driven.write(HOST, "/etc/apt/preferences.d/pins", pins(newer.driver, newer.modules))
    driven.run(HOST, "DEBIAN_FRONTEND=noninteractive apt-get full-upgrade -y -qq")
    assert driven.run(HOST, "nvidia-smi", check=False).returncode == 18
    stale = driven.run(HOST, "cd /root && docker compose up -d", check=False)
    assert f"libcuda.so.{KERNEL.driver}: no such file" in stale.stderr

    driven.reboot(HOST)
    assert driven.text(HOST, QUERY + "driver_version") == newer.driver
    driven.run(HOST, "cd /root && docker compose up -d")
    driven.run(HOST, "cd /root && docker compose down -t 0")
