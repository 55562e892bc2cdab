"""The whole host half on a host with a real arm64 userland, as a GB10 has one."""

from __future__ import annotations

from lab.testing import Lab
from tests.lab.host_half_support import changes, converge

ARCH = "arm64"
HOST = "spark-01"
SLOW = {"reboot_timeout_s": "300"}  # the userland is emulated


def test_from_bare_to_ready_and_then_no_change(lab: Lab) -> None:
    assert lab.text(HOST, "dpkg --print-architecture") == "arm64"
    done = converge(lab, **SLOW)
    assert done.returncode == 0, done.stdout
    assert done.stdout.count("back after") == 2
    sources = lab.text(HOST, "cat /etc/apt/sources.list.d/vllm-fleet-*.sources")
    assert "/ubuntu2404/sbsa/" in sources and "/stable/deb/arm64/" in sources
    assert "Architectures: amd64" not in sources
    installed = lab.text(HOST, "dpkg-query -W -f '${Architecture} ${Package}\\n' '*nvidia*'")
    assert "amd64" not in installed and "arm64 nvidia-driver-580-open" in installed
    assert "GPU 0: NVIDIA GB10" in lab.text(HOST, "nvidia-smi -L")
    again = converge(lab, **SLOW)
    assert changes(again.stdout) == 0, again.stdout
