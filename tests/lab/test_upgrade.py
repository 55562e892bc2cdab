"""New pins reach hosts wave by wave, in a run of their own, and a host that served serves again."""

from __future__ import annotations

import json

import pytest

from lab import supply
from lab.supply import tamper
from lab.testing import Done, Lab
from tests.lab.host_half_support import changes

HOSTS = 2
NEW = {
    "driver_version": "580.178.04",
    "kernel_modules_version": "6.17.0-1032.32+1",
    "docker_version": "5:29.8.2-1~ubuntu.24.04~noble",
    "containerd_version": "2.3.6-1~ubuntu.24.04~noble",
    "compose_version": "5.6.0-1~ubuntu.24.04~noble",
}
NEWER_KERNEL = {
    **NEW,
    "kernel_version": "6.17.0-1035.35",
    "kernel_modules_version": "6.17.0-1035.35",
}
WORDS = {"pcie_port_pm=off", "initcall_blacklist=tegra234_cbb_init", "pci=pcie_bus_safe"}
LOCK = "/run/vllm-fleet.lock"
LOOK = f"until cp {LOCK}/owner.json /var/tmp/seen; do sleep 0.1; done"
LOCKED = f"""
import json, os
with open("/proc/sys/kernel/random/boot_id") as file:
    boot = file.read().strip()
with open("/proc/1/stat") as file:
    started = int(file.read().rpartition(")")[2].split()[19])
os.mkdir({LOCK!r})
with open({LOCK + "/owner.json"!r}, "w") as file:
    json.dump({{"who": "somebody", "origin": "elsewhere", "what": "a test", "since": 0.0,
               "pid": 1, "pid_started": started, "boot_id": boot}}, file)
"""
STARTED = "systemctl show --property=ActiveEnterTimestampMonotonic --value vllm.service"


def run(lab: Lab, deploy: str, *words: str, **data: str) -> Done:
    image = {"vllm_image": lab.state.images["vllm-standin"]}
    return lab.pyinfra(deploy, *words, data={**image, **data})


@pytest.fixture(scope="module", autouse=True)
def serving(lab: Lab) -> None:
    done = run(lab, "deploy.py")
    assert done.returncode == 0, done.stdout


def test_deploy_refuses_new_pins_and_names_upgrade(lab: Lab) -> None:
    done = run(lab, "deploy.py", **NEW)
    assert done.returncode != 0
    assert "upgrade.py" in done.stdout


def test_what_cannot_be_fetched_is_refused_before_a_host_stops(lab: Lab) -> None:
    before = [lab.text(host, STARTED) for host in lab.names]
    prepared = supply.prepare(lab.state.arch)
    with tamper.spoilt(lab.state.run, prepared, "docker", tamper.changed_package):
        done = run(lab, "upgrade.py", **NEW)
    assert done.returncode != 0 and "Traceback" not in done.stdout, done.stdout
    assert [lab.text(host, STARTED) for host in lab.names] == before


def test_a_host_that_somebody_changes_is_left_alone(lab: Lab) -> None:
    before = [lab.text(host, STARTED) for host in lab.names]
    lab.write(lab.names[0], "/root/lock.py", LOCKED)
    lab.run(lab.names[0], "python3 /root/lock.py")
    done = run(lab, "upgrade.py", **NEW)
    lab.run(lab.names[0], f"rm -r {LOCK} /root/lock.py")
    assert done.returncode == 1 and "Traceback" not in done.stdout, done.stdout
    assert "is held by somebody from elsewhere" in done.stdout
    assert [lab.text(host, STARTED) for host in lab.names] == before


def test_hosts_move_one_wave_after_the_other_and_serve_again(lab: Lab) -> None:
    for host in lab.names:
        lab.run(host, f"systemd-run --unit=look timeout 300 sh -c '{LOOK}'")
    done = run(lab, "upgrade.py", **NEW)
    assert done.returncode == 0, done.stdout
    for host in lab.names:
        assert json.loads(lab.text(host, "cat /var/tmp/seen"))["what"].startswith("upgrade (run ")
        assert not lab.text(host, f"ls -d {LOCK} 2>/dev/null || true")
    assert done.stdout.count("back after") == 2
    first, second = (done.stdout.index(f"[{h}] nested back after") for h in lab.names)
    assert first < second
    for host in lab.names:
        assert "580.178.04" in lab.text(host, "cat /proc/driver/nvidia/version")
        assert "29.8.2" in lab.text(host, "dpkg-query -W docker-ce")
        assert lab.text(host, "systemctl is-active vllm.service") == "active"
        assert "580.178.04" in lab.text(host, "cat /run/cdi/nvidia.yaml")
        assert {"docker-ce", "nvidia-driver-580-open"} <= set(
            lab.text(host, "apt-mark showhold").split()
        )


def test_then_nothing_is_left_to_do_for_either(lab: Lab) -> None:
    again = run(lab, "upgrade.py", **NEW)
    assert again.returncode == 0 and changes(again.stdout) == 0, again.stdout
    deployed = run(lab, "deploy.py", **NEW)
    assert deployed.returncode == 0, deployed.stdout


def test_a_host_that_a_killed_upgrade_left_stopped_is_started(lab: Lab) -> None:
    lab.run(lab.names[0], "systemctl stop vllm.service")
    done = run(lab, "upgrade.py", **NEW)
    assert done.returncode == 0, done.stdout
    assert lab.text(lab.names[0], "systemctl is-active vllm.service") == "active"


def test_a_newer_kernel_boots_with_the_words_of_the_one_before(lab: Lab) -> None:
    done = run(lab, "upgrade.py", **NEWER_KERNEL)
    assert done.returncode == 0, done.stdout
    for host in lab.names:
        assert lab.text(host, "uname -r") == "6.17.0-1035-nvidia"
        assert set(lab.text(host, "cat /proc/cmdline").split()) >= WORDS
        assert lab.text(host, "systemctl is-active vllm.service") == "active"
    again = run(lab, "upgrade.py", **NEWER_KERNEL)
    assert again.returncode == 0 and changes(again.stdout) == 0, again.stdout
