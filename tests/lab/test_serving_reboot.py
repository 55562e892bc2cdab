"""A host that serves and needs a reboot gets it from upgrade.py, in its wave, from nobody else."""

from __future__ import annotations

from lab.testing import Done, Lab

HOSTS = 2
HOST = "spark-01"
LOADED = "/proc/driver/nvidia/version"


def run(lab: Lab, deploy: str) -> Done:
    image = lab.state.images["vllm-standin"]
    return lab.pyinfra(deploy, data={"vllm_image": image, "allow_reboot": "true"})


def test_only_upgrade_reboots_a_host_that_serves(deployed: Lab) -> None:
    older = deployed.text(HOST, f"sed s/580.159.03/580.95.05/ {LOADED}")
    deployed.write(HOST, f"/etc/lab/bind{LOADED}", older + "\n")
    deployed.run(HOST, "/usr/lib/lab/bind && rm -r /etc/lab/bind")
    boots = [deployed.text(host, "cat /proc/sys/kernel/random/boot_id") for host in deployed.names]

    done = run(deployed, "deploy.py")
    assert done.returncode != 0 and "Traceback" not in done.stdout, done.stdout
    assert "upgrade.py" in done.stdout and "580.95.05" in done.stdout, done.stdout
    for host, boot in zip(deployed.names, boots, strict=True):
        assert deployed.text(host, "cat /proc/sys/kernel/random/boot_id") == boot
        assert deployed.text(host, "systemctl is-active vllm") == "active"

    done = run(deployed, "upgrade.py")
    assert done.returncode == 0, done.stdout
    assert done.stdout.count("back after") == 1
    assert "580.159.03" in deployed.text(HOST, f"cat {LOADED}")
    assert deployed.text(HOST, "systemctl is-active vllm") == "active"
    other = deployed.names[1]
    assert deployed.text(other, "cat /proc/sys/kernel/random/boot_id") == boots[1]
