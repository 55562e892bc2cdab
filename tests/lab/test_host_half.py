"""A bare plain-Ubuntu host becomes ready in one command, stays so, and is mended when it is not."""

from __future__ import annotations

import json

import pytest

from lab.testing import Lab
from tests.lab.host_half_support import changes, converge, refused, state

HOSTS = 2  # as the refusals need, so that one lab serves both
HOST = "spark-01"
ONLY = ("--limit", HOST)


@pytest.fixture(scope="module", autouse=True)
def ready(lab: Lab) -> str:
    """The output of the first run, from bare; a foreign daemon.json is there before it."""
    before = boot_id(lab)
    lab.write(HOST, "/etc/docker/daemon.json", '{"mtu": 1400, "features": {"buildkit": true}}')
    done = converge(lab, *ONLY)
    assert done.returncode == 0, done.stdout
    assert boot_id(lab) != before
    return done.stdout


def boot_id(lab: Lab) -> str:
    return lab.text(HOST, "cat /proc/sys/kernel/random/boot_id")


def test_from_bare_it_takes_two_reboots_and_ends_with_the_pins(lab: Lab, ready: str) -> None:
    assert ready.count("back after") == 2
    assert lab.text(HOST, "uname -r") == "6.17.0-1032-nvidia"
    assert "580.159.03" in lab.text(HOST, "cat /proc/driver/nvidia/version")
    assert "GPU 0: NVIDIA GB10" in lab.text(HOST, "nvidia-smi -L")
    assert "nvidia.com/gpu=all" in lab.text(HOST, "nvidia-ctk cdi list")
    assert lab.text(HOST, "systemctl is-active docker earlyoom") == "active\nactive"
    assert lab.text(HOST, "cat /sys/class/watchdog/watchdog0/identity") == "SBSA Generic Watchdog"


def test_no_other_driver_branch_and_no_dkms_came_along(lab: Lab) -> None:
    query = "dpkg-query -W -f '${db:Status-Abbrev} ${Package} ${Version}\\n' '*nvidia*'"
    lines = lab.text(HOST, query).splitlines()
    names = "\n".join(line for line in lines if not line.startswith("un"))
    assert "dkms" not in names and "590." not in names and "610." not in names


def test_what_must_not_move_is_held(lab: Lab) -> None:
    held = lab.text(HOST, "apt-mark showhold").splitlines()
    assert {"nvidia-driver-580-open", "linux-nvidia-hwe-24.04", "docker-ce"} <= set(held)
    upgrade = lab.text(HOST, "apt-get -s full-upgrade")
    assert not [x for x in upgrade.splitlines() if x.startswith("Inst") and "nvidia" in x]


def test_the_hosts_own_docker_settings_are_kept(lab: Lab) -> None:
    found = json.loads(lab.text(HOST, "cat /etc/docker/daemon.json"))
    assert found["mtu"] == 1400
    assert found["features"] == {"buildkit": True, "cdi": True}


def test_a_second_run_changes_nothing(lab: Lab) -> None:
    before, boot = state(lab), boot_id(lab)
    done = converge(lab, *ONLY)
    assert done.returncode == 0, done.stdout
    assert changes(done.stdout) == 0, done.stdout
    assert (state(lab), boot_id(lab)) == (before, boot)


def test_clocks_swap_and_boot_target_are_set_once(lab: Lab) -> None:
    wanted = {"gpu_clocks_mhz": "[1500, 2400]", "swap": "off", "boot_target": "multi-user"}
    lab.run(HOST, "systemctl set-default graphical.target")
    done = converge(lab, *ONLY, **wanted)
    assert done.returncode == 0, done.stdout
    unit = "vllm-fleet-gpu-clocks"
    assert lab.text(HOST, f"systemctl is-active {unit}; systemctl is-enabled {unit}") == (
        "active\nenabled"
    )
    assert lab.text(HOST, "systemctl get-default") == "multi-user.target"
    assert lab.text(HOST, "systemctl show --value -p LoadState swap.target") == "masked"
    assert changes(converge(lab, *ONLY, **wanted).stdout) == 0
    assert converge(lab, *ONLY).returncode == 0
    assert lab.run(HOST, f"systemctl cat {unit}", check=False).returncode != 0


def test_a_reboot_later_nothing_has_to_change(lab: Lab) -> None:
    lab.reboot(HOST)
    done = converge(lab, *ONLY)
    assert changes(done.stdout) == 0, done.stdout


def test_broken_daemon_json_is_refused_and_intact(lab: Lab) -> None:
    good = lab.text(HOST, "cat /etc/docker/daemon.json")
    lab.write(HOST, "/etc/docker/daemon.json", '{"mtu": 1400,')
    refused(lab, "daemon.json", "no valid JSON", "by hand")
    assert lab.text(HOST, "cat /etc/docker/daemon.json") == '{"mtu": 1400,'
    lab.write(HOST, "/etc/docker/daemon.json", good)


def test_what_dockerd_does_not_accept_is_not_put_in_place(lab: Lab) -> None:
    good = lab.text(HOST, "cat /etc/docker/daemon.json")
    done = converge(lab, *ONLY, docker_daemon='{"no-such-key": 1}')
    assert done.returncode != 0
    assert lab.text(HOST, "cat /etc/docker/daemon.json") == good
    assert lab.text(HOST, "ls -A /etc/docker") == "daemon.json"


def test_docker_is_restarted_when_it_is_behind_its_configuration(lab: Lab) -> None:
    """As after a run that was killed between writing the file and the restart."""
    lab.run(HOST, "sed -i 's/1400/1390/' /etc/docker/daemon.json")
    pid = lab.text(HOST, "pidof dockerd")
    done = converge(lab, *ONLY)
    assert changes(done.stdout) == 1, done.stdout
    assert lab.text(HOST, "pidof dockerd") != pid
    assert changes(converge(lab, *ONLY).stdout) == 0


def test_cdi_devices_follow_the_driver(lab: Lab) -> None:
    lab.run(HOST, "sed -i s/580.159.03/580.95.05/g /run/cdi/nvidia.yaml")
    assert changes(converge(lab, *ONLY).stdout) == 1
    assert "580.95.05" not in lab.text(HOST, "cat /run/cdi/nvidia.yaml")


def test_a_stale_cdi_file_of_somebody_else_is_told(lab: Lab) -> None:
    lab.run(HOST, "mkdir -p /etc/cdi && sed s/580.159.03/580.95.05/g /run/cdi/nvidia.yaml "
            "> /etc/cdi/nvidia.yaml")  # fmt: skip
    refused(lab, "CDI", "/etc/cdi/nvidia.yaml", "rm /etc/cdi")
    lab.run(HOST, "rm -r /etc/cdi")


def test_a_held_package_at_another_version_is_refused(lab: Lab) -> None:
    names = "nvidia-container-toolkit nvidia-container-toolkit-base libnvidia-container-tools"
    older = " ".join(f"{n}=1.19.1-1" for n in (*names.split(), "libnvidia-container1"))
    newer = older.replace("1.19.1-1", "1.20.0-1")
    install = "apt-get install -y -q --allow-downgrades --allow-change-held-packages"
    lab.run(HOST, f"{install} {older} && apt-mark hold {names} libnvidia-container1")
    refused(lab, "packages", "1.19.1-1 (held)", "upgrade.py")
    lab.run(HOST, f"{install} {newer} && apt-mark hold {names} libnvidia-container1")
    assert changes(converge(lab, *ONLY).stdout) == 0


def test_a_driver_that_is_not_the_loaded_one_needs_leave_to_reboot(lab: Lab) -> None:
    lab.write(HOST, "/etc/lab/bind/proc/driver/nvidia/version", lab.text(
        HOST, "sed s/580.159.03/580.95.05/ /proc/driver/nvidia/version") + "\n")  # fmt: skip
    lab.run(HOST, "/usr/lib/lab/bind && rm -r /etc/lab/bind")
    refused(lab, "driver loaded", "580.95.05 loaded, 580.159.03 installed", "allow_reboot",
            allow_reboot="false")  # fmt: skip
    done = converge(lab, *ONLY)
    assert done.returncode == 0, done.stdout
    assert done.stdout.count("back after") == 1
    assert changes(converge(lab, *ONLY).stdout) == 0


def test_a_host_without_initrd_is_not_rebooted(lab: Lab) -> None:
    lab.run(HOST, "mv /boot/initrd.img-6.17.0-1032-nvidia /root/")
    boot = boot_id(lab)
    refused(lab, "initrd", "update-initramfs -c -k 6.17.0-1032-nvidia")
    lab.run(HOST, "mv /root/initrd.img-6.17.0-1032-nvidia /boot/")
    assert boot_id(lab) == boot
