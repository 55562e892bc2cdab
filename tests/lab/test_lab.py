"""The lab itself: hosts come up, obey, look like a GB10 and fail on demand."""

import json
import subprocess
import sys
import time

import pytest

from lab import hosts
from lab.command import LabError
from lab.face import GENERIC_KERNEL
from lab.testing import REPO, Done, Lab

HOSTS = 2
BOOT = "cat /proc/sys/kernel/random/boot_id"


def command(lab: Lab, *words: str) -> Done:
    """``python -m lab ...``"""
    return subprocess.run(
        [sys.executable, "-m", "lab", *words],
        cwd=REPO,
        env=lab.environment(),
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_up_again_leaves_the_hosts_alone(lab: Lab) -> None:
    before = [lab.text(host, BOOT) for host in lab.names]
    done = command(lab, "up", "--hosts", str(len(lab.names)))
    assert done.returncode == 0, done.stderr
    assert "is up already" in done.stderr
    assert [lab.text(host, BOOT) for host in lab.names] == before


def test_up_with_other_wishes_is_refused_in_one_line(lab: Lab) -> None:
    done = command(lab, "up", "--hosts", "2", "--platform", "dgx")
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "is up with other platform" in done.stderr


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("ssh", "spark-99"), "no host 'spark-99'; hosts: spark-01"),
        (("kill", "spark-99"), "no host 'spark-99'"),
        (("up", "--name", "Bad Name"), "lab name: found 'Bad Name', allowed:"),
        (("up", "--name", "other", "--hosts", "0"), "--hosts: found 0, allowed: 1 to"),
        (("list", "--name", "nolab"), "lab nolab: not up; start it"),
        (("exec",), "exec: no command given"),
        (("exec", "--", "/no/such/program"), "/no/such/program: No such file"),
    ],
)
def test_mistakes_are_told_in_one_line(lab: Lab, words: tuple[str, ...], told: str) -> None:
    done = command(lab, *words)
    assert done.returncode == 1
    assert told in done.stderr
    assert done.stderr.count("\n") == 1, done.stderr


def test_list_is_readable_by_programs(lab: Lab) -> None:
    rows = json.loads(command(lab, "list", "--json", "--name", lab.state.name).stdout)
    assert [row["host"] for row in rows] == lab.names
    assert rows[0]["address"] == "198.18.77.11"
    assert all(row["running"] and row["ready"] for row in rows)


def test_ssh_and_exec_run_commands(lab: Lab) -> None:
    assert command(lab, "ssh", "spark-01", "--", "hostname; id -un").stdout == "spark-01\nfleet\n"
    assert "198.18.77.1/24" in command(lab, "exec", "--", "ip", "-4", "addr").stdout


def test_a_host_looks_like_a_bare_gb10(lab: Lab) -> None:
    host = "spark-01"
    assert lab.text(host, "uname -r") == GENERIC_KERNEL
    assert GENERIC_KERNEL in lab.text(host, "cat /proc/cmdline")
    assert "[10de:2e12]" in lab.text(host, "lspci -nn")
    assert lab.text(host, "cat /sys/class/dmi/id/product_name") == "NVIDIA_DGX_Spark"
    assert lab.text(host, ". /etc/os-release; echo $ID $VERSION_ID") == "ubuntu 24.04"
    assert lab.text(host, "mokutil --sb-state") == "SecureBoot enabled"
    assert lab.text(host, "stat -fc %T /sys/fs/cgroup") == "cgroup2fs"
    assert lab.text(host, "systemctl is-system-running --wait") == "running"
    for absent in ("/etc/dgx-release", "/proc/driver/nvidia/version", "/usr/bin/nvidia-smi"):
        assert lab.run(host, f"test -e {absent}", check=False).returncode == 1, absent


def test_there_is_no_way_out(lab: Lab) -> None:
    for where in (lab.run("spark-01", "ip route get 192.0.2.2", check=False),
                  lab.control("ip", "route", "get", "192.0.2.2")):  # fmt: skip
        assert where.returncode != 0
        assert "unreachable" in where.stderr


def test_hosts_reach_each_other_by_name(lab: Lab) -> None:
    assert "1 received" in lab.text("spark-01", "ping -c1 -W2 spark-02")


def test_root_cannot_log_in(lab: Lab) -> None:
    words = hosts.ssh(lab.state, lab.state.host("spark-01"))
    words[-1] = words[-1].replace("fleet@", "root@")
    done = lab.control(*words, "true")
    assert done.returncode == 255
    assert "Permission denied" in done.stderr


def test_a_host_cannot_touch_the_machine(lab: Lab) -> None:
    """The clock, swap and vm sysctls are the machine's; the last is a private copy."""
    refused = lab.run("spark-01", "date -s 2020-01-01", check=False)
    assert "Operation not permitted" in refused.stderr
    lab.run("spark-01", "fallocate -l 1M /swap && chmod 600 /swap && mkswap /swap")
    refused = lab.run("spark-01", "swapon /swap", check=False)
    assert "Operation not permitted" in refused.stderr
    with open("/proc/sys/vm/swappiness") as file:
        before = file.read()
    lab.run("spark-01", "sysctl -q -w vm.swappiness=7")
    assert lab.text("spark-01", "sysctl -n vm.swappiness") == "7"
    with open("/proc/sys/vm/swappiness") as file:
        assert file.read() == before


def test_a_reboot_keeps_the_disk_and_clears_run(bare_lab: Lab) -> None:
    lab, host = bare_lab, "spark-01"
    lab.run(host, "touch /root/kept /run/gone")
    before = lab.text(host, BOOT)
    assert command(lab, "reboot", host).returncode == 0
    assert lab.text(host, BOOT) != before
    assert lab.text(host, "ls /root/kept /run/gone 2> /dev/null || true") == "/root/kept"


def test_a_power_cut_hits_one_host_and_keeps_its_disk(bare_lab: Lab) -> None:
    lab = bare_lab
    other = lab.text("spark-02", BOOT)
    lab.run("spark-01", "touch /root/kept")
    assert command(lab, "kill", "spark-01").returncode == 0
    begin = time.monotonic()
    assert lab.run("spark-01", "true", check=False).returncode == 255
    assert time.monotonic() - begin < 10
    assert lab.text("spark-02", BOOT) == other
    assert command(lab, "start", "spark-01").returncode == 0
    assert lab.text("spark-01", "ls /root/kept") == "/root/kept"
    assert command(lab, "start", "spark-01").stderr == "lab: spark-01: is running already\n"


def test_a_cut_cable_silences_a_host_until_mended(bare_lab: Lab) -> None:
    lab = bare_lab
    assert command(lab, "cut", "spark-01").returncode == 0
    assert lab.run("spark-01", "true", check=False).returncode == 255
    assert lab.run("spark-02", "ping -c1 -W1 spark-01", check=False).returncode == 1
    assert command(lab, "mend", "spark-01").returncode == 0
    assert lab.text("spark-01", "hostname") == "spark-01"


def test_a_frozen_host_accepts_but_does_not_answer(bare_lab: Lab) -> None:
    lab = bare_lab
    lab.freeze("spark-01")
    try:
        done = lab.run("spark-01", "true", check=False)
        assert done.returncode == 255
        assert "banner" in done.stderr
    finally:
        lab.thaw("spark-01")
    assert lab.text("spark-01", "hostname") == "spark-01"


def test_hosts_do_not_kill_each_others_services(bare_lab: Lab) -> None:
    """systemd kills by cgroup path; hosts in one cgroup would share it."""
    query = "systemctl show -P MainPID dbus"
    before = bare_lab.text("spark-02", query)
    bare_lab.run("spark-01", "systemctl kill -s KILL dbus", check=False)
    assert bare_lab.text("spark-02", query) == before != "0"


def test_the_newest_kernel_boots_with_its_driver(bare_lab: Lab) -> None:
    lab, host, kernel = bare_lab, "spark-01", "6.17.0-1032-nvidia"
    module = f"/lib/modules/{kernel}/kernel/nvidia-580-open/nvidia.ko"
    lab.write(host, f"/boot/vmlinuz-{kernel}", "kernel\n")
    lab.write(host, module, "version:        580.159.03\nlicense:        Dual MIT/GPL\n")
    lab.write(
        host, "/etc/default/grub.d/kho.cfg", 'GRUB_CMDLINE_LINUX="$GRUB_CMDLINE_LINUX kho=off"\n'
    )
    lab.run(host, f"update-initramfs -c -k {kernel} && update-grub")
    assert lab.text(host, "uname -r") == GENERIC_KERNEL
    assert lab.run(host, "modinfo nvidia", check=False).returncode == 1
    lab.reboot(host)
    assert lab.text(host, "uname -r") == kernel
    assert lab.text(host, "cat /proc/cmdline").endswith("kho=off ")
    assert " 580.159.03 " in lab.text(host, "cat /proc/driver/nvidia/version")
    assert lab.text(host, "modinfo -F license nvidia") == "Dual MIT/GPL"
    lab.run(host, f"sed -i s/159.03/178.04/ {module}")
    assert lab.text(host, "modinfo -F version nvidia") == "580.178.04"
    assert lab.text(host, "cat /sys/module/nvidia/version") == "580.159.03"


def test_without_an_initrd_a_host_does_not_come_back(bare_lab: Lab) -> None:
    lab, host = bare_lab, "spark-01"
    lab.run(host, "rm /boot/initrd.img-*; systemctl reboot", check=False)
    end = time.monotonic() + 20
    while hosts.running(lab.state, lab.state.host(host)) and time.monotonic() < end:
        time.sleep(0.1)
    assert not hosts.running(lab.state, lab.state.host(host))
    console = hosts.console(lab.state, lab.state.host(host)).read_text(errors="replace")
    assert "Unable to mount root fs" in console
    with pytest.raises(LabError, match=r"does not come up.*Unable to mount root fs"):
        lab.start(host)


def test_any_file_can_be_covered(bare_lab: Lab) -> None:
    lab, host = bare_lab, "spark-01"
    lab.write(host, "/etc/lab/bind/proc/meminfo", "MemTotal: 127600000 kB\n")
    lab.write(host, "/etc/lab/bind/proc/driver/nvidia/version", "NVRM version: x\n")
    lab.write(host, "/etc/lab/bind/run/lab/kernel", "7.0.0-1019-nvidia\n")
    lab.run(host, "/usr/lib/lab/bind")
    assert lab.text(host, "head -1 /proc/meminfo") == "MemTotal: 127600000 kB"
    assert lab.text(host, "uname -r") == "7.0.0-1019-nvidia"
    lab.reboot(host)
    assert lab.text(host, "cat /proc/driver/nvidia/version") == "NVRM version: x"
    assert lab.text(host, "uname -r") == "7.0.0-1019-nvidia"


def test_a_reset_is_bare_and_quick(bare_lab: Lab) -> None:
    bare_lab.run("spark-01", "touch /root/dirt")
    begin = time.monotonic()
    bare_lab.reset("spark-01")
    assert time.monotonic() - begin < 10
    assert bare_lab.run("spark-01", "test -e /root/dirt", check=False).returncode == 1


def test_pyinfra_reaches_the_hosts_through_the_inventory(lab: Lab, tmp_path: object) -> None:
    done = lab.pyinfra("exec", "--", "hostname")
    assert done.returncode == 0, done.stdout
    assert "[spark-02] spark-02" in done.stdout
