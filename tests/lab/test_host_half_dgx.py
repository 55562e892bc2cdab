"""DGX OS brings kernel, driver, Docker and toolkit: asserted, held, and left as they are."""

from __future__ import annotations

import pytest

from lab.testing import Lab
from tests.lab.host_half_support import changes, converge, refused, state

PLATFORM = "dgx"
HOST = "spark-01"
PACKAGES = "dpkg-query -W -f '${Package} ${Version} ${Status}\\n' | sed 's/ hold / install /'"
SOURCES = "cat /etc/apt/sources.list.d/* /etc/apt/preferences.d/* | sha256sum"


@pytest.fixture(scope="module", autouse=True)
def before(lab: Lab) -> tuple[str, str]:
    """Packages and apt sources as DGX OS brought them; then the first run."""
    found = lab.text(HOST, PACKAGES), lab.text(HOST, SOURCES)
    done = converge(lab)
    assert done.returncode == 0, done.stdout
    assert "back after" not in done.stdout
    return found


def test_no_package_and_no_repository_changes(lab: Lab, before: tuple[str, str]) -> None:
    assert (lab.text(HOST, PACKAGES), lab.text(HOST, SOURCES)) == before


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
