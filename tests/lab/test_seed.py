"""Seeds pass cloud-init's own checker. It runs on a lab host: on a machine of ours it would act at
the next boot."""

from __future__ import annotations

import yaml

from fleet.seed import Address, Machine, first_boot, seed
from lab.testing import Lab

HOST = "spark-01"
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAINJPf robot@control"
FIXED = Address("192.0.2.9/24", "192.0.2.1", ("192.0.2.53",))
MACHINES = (
    Machine("spark-09", "fleet", KEY),
    Machine("spark-10", "fleet", KEY, "aa:bb:cc:dd:ee:ff", FIXED),
)


def schema(lab: Lab, kind: str, text: str) -> tuple[int, str]:
    lab.write(HOST, "/tmp/seed", text)
    command = f"cloud-init schema --schema-type {kind} --config-file /tmp/seed 2>&1"
    done = lab.run(HOST, command, check=False)
    return done.returncode, done.stdout


def test_cloud_inits_own_checker_accepts_them(lab: Lab) -> None:
    lab.run(HOST, "sed -i 's/^Enabled: no/Enabled: yes/' /etc/apt/sources.list.d/debian.sources")
    lab.run(HOST, "apt-get -q update && DEBIAN_FRONTEND=noninteractive apt-get install -y -q "
            "--no-install-recommends cloud-init", timeout=600)  # fmt: skip
    for machine in MACHINES:
        files = seed(machine)
        boot = "#cloud-config\n" + yaml.safe_dump(first_boot(machine))
        assert schema(lab, "cloud-config", files["user-data"])[0] == 0
        assert schema(lab, "cloud-config", boot)[0] == 0, schema(lab, "cloud-config", boot)
        assert schema(lab, "network-config", files["network-config"])[0] == 0
    wrong = boot.replace("lock_passwd: true", "lock_passwd: perhaps")
    assert schema(lab, "cloud-config", wrong)[0] != 0
