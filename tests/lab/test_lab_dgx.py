"""A host of platform dgx comes as DGX OS leaves the factory."""

from lab.testing import Lab

PLATFORM = "dgx"
HOST = "spark-01"


def test_driver_toolkit_and_docker_are_there(lab: Lab) -> None:
    assert lab.text(HOST, ". /etc/dgx-release; echo $DGX_NAME") == "DGX Spark"
    assert lab.text(HOST, "uname -r").endswith("-nvidia")
    query = "nvidia-smi --query-gpu=name,compute_cap,memory.total --format=csv,noheader"
    assert lab.text(HOST, query) == "NVIDIA GB10, 12.1, [N/A]"
    assert lab.text(HOST, "systemctl is-active docker") == "active"
    assert "nvidia.com/gpu=all" in lab.text(HOST, "nvidia-ctk cdi list")
    assert lab.text(HOST, "systemctl is-system-running --wait") == "running"


def test_its_own_repositories_work(lab: Lab) -> None:
    done = lab.run(HOST, "apt-get update -o APT::Update::Error-Mode=any")
    assert "repo.download.nvidia.com/baseos" in done.stdout


def test_loaded_and_installed_driver_differ_until_the_reboot(lab: Lab) -> None:
    module = lab.text(HOST, "modinfo -F filename nvidia")
    lab.run(HOST, f"sed -i s/580.159.03/580.178.04/ {module}")
    assert lab.text(HOST, "cat /sys/module/nvidia/version") == "580.159.03"
    lab.reboot(HOST)
    assert lab.text(HOST, "cat /sys/module/nvidia/version") == "580.178.04"
