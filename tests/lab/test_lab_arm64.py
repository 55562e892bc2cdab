"""A host with arm64 userland: what packages and programs see is another architecture."""

from lab.testing import Lab

ARCH = "arm64"
HOST = "spark-01"
EM_AARCH64, EM_X86_64 = "b7", "3e"


def machine(lab: Lab, program: str) -> str:
    """The architecture in a program's ELF header."""
    return lab.text(HOST, f"od -An -j18 -N1 -tx1 {program}").strip()


def test_packages_and_programs_are_arm64(lab: Lab) -> None:
    assert lab.text(HOST, "uname -m; dpkg --print-architecture") == "aarch64\narm64"
    assert lab.text(HOST, "python3 -c 'import os; print(os.uname().machine)'") == "aarch64"
    assert machine(lab, "/usr/bin/dpkg") == EM_AARCH64
    assert machine(lab, "$(readlink -f /usr/bin/python3)") == EM_AARCH64


def test_what_qemu_cannot_do_is_native(lab: Lab) -> None:
    assert machine(lab, "/usr/lib/systemd/systemd") == EM_X86_64
    assert lab.text(HOST, "systemctl is-system-running --wait") == "running"
    assert "Chain INPUT" in lab.text(HOST, "iptables -L -n")


def test_it_installs_arm64_packages_and_reboots(lab: Lab) -> None:
    lab.run(HOST, "apt-get update -qq -o APT::Update::Error-Mode=any", timeout=300)
    lab.run(HOST, "apt-get install -y -qq jq", timeout=300)
    assert machine(lab, "/usr/bin/jq") == EM_AARCH64
    assert lab.text(HOST, "dpkg-query -W -f '${Architecture}' jq") == "arm64"
    lab.reboot(HOST)
    assert lab.text(HOST, "jq -n 6*7") == "42"
