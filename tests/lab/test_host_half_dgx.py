"""DGX OS brings kernel, driver, Docker and toolkit: asserted, held, and left as they are."""

from __future__ import annotations

import pytest

from lab.testing import Lab
from tests.lab.host_half_support import changes, converge, refused, state

PLATFORM = "dgx"
HOST = "spark-01"
PACKAGES = "dpkg-query -W -f '${Package} ${Version} ${Status}\\n' | sed 's/ hold / install /'"
SOURCES = "cat /etc/apt/sources.list.d/* /etc/apt/preferences.d/* | sha256sum"
FOREIGN = """set -e; cd /
tar -ch usr/bin/sleep $(ldd /usr/bin/sleep | grep -o '/[^ ]*') | docker import - lab/foreign
docker run --detach --name foreign --network none lab/foreign sleep infinity
"""
PROCESS = "docker inspect -f '{{.State.Pid}} {{.State.StartedAt}} {{.State.Running}}' foreign"


@pytest.fixture(scope="module", autouse=True)
def before(lab: Lab) -> tuple[str, str, str]:
    """Packages, apt sources and a container as the first run found them."""
    lab.run(HOST, FOREIGN)
    found = lab.text(HOST, PACKAGES), lab.text(HOST, SOURCES), lab.text(HOST, PROCESS)
    pid = lab.text(HOST, "pidof dockerd")
    done = converge(lab)
    assert done.returncode == 0, done.stdout
    assert "back after" not in done.stdout
    assert lab.text(HOST, "pidof dockerd") != pid
    return found


def test_no_package_and_no_repository_changes(lab: Lab, before: tuple[str, str, str]) -> None:
    assert (lab.text(HOST, PACKAGES), lab.text(HOST, SOURCES)) == before[:2]


def test_a_container_of_others_outlives_the_restart_of_docker(
    lab: Lab, before: tuple[str, str, str]
) -> None:
    assert lab.text(HOST, PROCESS) == before[2]
    assert before[2].endswith("true")


def test_without_live_restore_a_container_of_others_forbids_the_restart(lab: Lab) -> None:
    process = lab.text(HOST, PROCESS)
    refused(lab, "live-restore off", "foreign", docker_daemon='{"live-restore": false}')
    assert lab.text(HOST, PROCESS) == process


def test_it_is_held(lab: Lab) -> None:
    held = set(lab.text(HOST, "apt-mark showhold").splitlines())
    assert {"nvidia-driver-580-open", "docker-ce", "nvidia-container-toolkit"} <= held


def test_a_second_run_changes_nothing(lab: Lab) -> None:
    kept = state(lab)
    done = converge(lab)
    assert done.returncode == 0, done.stdout
    assert changes(done.stdout) == 0, done.stdout
    assert state(lab) == kept


def test_a_second_definition_with_another_key_is_refused(lab: Lab) -> None:
    path = "/etc/apt/sources.list.d/second.list"
    place = "https://nvidia.github.io/libnvidia-container/stable/deb/amd64 /"
    lines = [f"deb [signed-by=/usr/share/keyrings/{name}.gpg] {place}\n" for name in ("a", "b")]
    lab.write(HOST, path, "".join(lines))
    refused(lab, "apt sources", path, "two keys")
    lab.run(HOST, f"rm {path}")


def test_a_driver_that_is_not_loaded_is_not_installed_by_us(lab: Lab) -> None:
    lab.run(HOST, "mkdir -p /root/kept && for f in $(find /lib/modules -name nvidia.ko); do "
            "mv $f /root/kept/; echo $f > /root/kept/path; done")  # fmt: skip
    lab.reboot(HOST)
    refused(lab, "driver loaded", "none loaded", "DGX OS")
