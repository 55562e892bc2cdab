"""A bundle made where there is a network deploys bare hosts where there is none."""

from __future__ import annotations

import base64
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from lab import cgroup, services
from lab.state import CONTROL
from lab.supply.sources import UBUNTU_KEYRING
from lab.testing import REPO, Done, Keeper, Lab
from tests.lab.test_deploy import evidence, grand_total

HOSTS = 2
HOST = "spark-01"
AT = "http://127.0.0.1:8474/v2/"
FLEET = (sys.executable, "-m", "fleet", "bundle")
SOURCES = "/etc/apt/sources.list.d/ubuntu.sources"


def settings(lab: Lab) -> dict[str, str]:
    """What lab/group_data/all.py says, for a command that reads none of it."""
    prints = {f"{name}_key_fingerprint": value for name, value in lab.state.fingerprints.items()}
    return {
        **{key: prints[key] for key in prints if key.split("_")[0] in ("nvidia", "toolkit")},
        "docker_key_fingerprint": prints["docker_key_fingerprint"],
        "vllm_mode": "lab-standard",
        "vllm_model": "lab/tiny",
        "vllm_image": lab.state.images["vllm-standin"],
        "host_arch": lab.state.arch,
        "memory_floor_gib": "0.25",
        "extra_ca": lab.state.ca,
    }


def pairs(data: Mapping[str, str]) -> list[str]:
    return [word for key, value in data.items() for word in ("--data", f"{key}={value}")]


def collect(lab: Lab, folder: Path, *words: str) -> Done:
    """``fleet bundle`` on the control side, where the vendors' names lead to the lab's gate."""
    names = folder.parent / "hosts"
    names.write_text(f"127.0.0.1 localhost\n{CONTROL} {' '.join(lab.state.names)}\n")
    script = 'mount --bind "$1" /etc/hosts && shift && exec "$@"'
    return lab.control(
        *("unshare", "--mount", "sh", "-c", script, "sh", str(names)),
        *(*FLEET, str(folder), *words, *pairs(settings(lab))),
        timeout=600,
    )


def of_host(lab: Lab, path: str, target: Path) -> str:
    """A file of the host, on the control side."""
    target.write_bytes(base64.b64decode(lab.text(HOST, f"base64 -w0 {path}")))
    return str(target)


@pytest.fixture(scope="module")
def bundled(lab: Lab, keeper: Keeper, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The bundle; then the lab's repositories, registry and Hub are gone."""
    place = tmp_path_factory.mktemp("airgap")
    folder = place / "bundle"
    made = collect(
        lab,
        folder,
        *("--only", "packages,image,model"),
        *("--sources", of_host(lab, SOURCES, place / "ubuntu.sources")),
        *("--keyring", of_host(lab, UBUNTU_KEYRING, place / "ubuntu.gpg")),
        *("--status", of_host(lab, "/var/lib/dpkg/status", place / "status")),
    )
    assert made.returncode == 0, made.stderr[-3000:]
    print(made.stderr, made.stdout)
    cgroup.kill(lab.state.name, services.GROUP)
    yield folder
    keeper.close()


def asked(lab: Lab, bundled: Path) -> dict[str, str]:
    return {"vllm_image": lab.state.images["vllm-standin"], "bundle": str(bundled)}


def reaches(lab: Lab) -> bool:
    """Whether the host finds the bundle."""
    return lab.run(HOST, f"curl -sm 5 {AT}", check=False).returncode == 0


def test_a_killed_run_takes_the_bundle_away_from_the_host(lab: Lab, bundled: Path) -> None:
    killed = lab.start_pyinfra("deploy.py", data=asked(lab, bundled))
    end = time.monotonic() + 120
    while not reaches(lab):
        assert killed.poll() is None and time.monotonic() < end
        time.sleep(0.5)
    killed.kill()
    killed.communicate()
    while reaches(lab):
        assert time.monotonic() < end
        time.sleep(0.5)


def test_bare_hosts_without_a_network_are_deployed_to_an_answer(lab: Lab, bundled: Path) -> None:
    for url in (
        "https://huggingface.co",
        "https://registry.lab:5000/v2/",
        "https://download.docker.com",
        "http://archive.lab/ubuntu",
    ):
        done = lab.run(HOST, f"curl -sm 5 {url}", check=False)
        assert done.returncode == 7, f"{url}: refused, as nobody listens: {done}"
    done = lab.pyinfra("deploy.py", data=asked(lab, bundled))
    assert done.returncode == 0, done.stdout[-6000:]
    served = evidence(done.stdout)["hosts"]
    assert isinstance(served, list) and [each["host"] for each in served] == lab.names
    assert all(each["proved"] and each["completion"] for each in served)
    again = lab.pyinfra("deploy.py", data=asked(lab, bundled))
    assert again.returncode == 0, again.stdout[-6000:]
    assert grand_total(again.stdout)[1] == 0, again.stdout[-6000:]
    for host in lab.names:
        as_online(lab, host)


def as_online(lab: Lab, host: str) -> None:
    """What stays is as with a network: the image's digest, and the vendors' own addresses."""
    digest = lab.state.images["vllm-standin"].rpartition("@")[2]
    assert digest in lab.text(host, "docker image ls --digests --no-trunc")
    kept = lab.text(host, "cat /etc/apt/sources.list.d/vllm-fleet-docker.sources")
    assert "URIs: https://download.docker.com/linux/ubuntu" in kept
    assert lab.run(host, f"curl -sm 5 {AT}", check=False).returncode == 7


def test_every_file_is_as_it_was_collected_until_one_changes(bundled: Path) -> None:
    def check() -> Done:
        return subprocess.run(
            [*FLEET, "check", str(bundled)], capture_output=True, text=True, check=False, cwd=REPO
        )

    assert check().returncode == 0, check()
    [weights] = bundled.glob("models/lab--tiny/*/model.safetensors")
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    spoilt = check()
    assert spoilt.returncode == 1
    assert spoilt.stderr.splitlines() == [f"{weights}: not as bundle.json says"]
