"""Our own image: built on one host, pulled by the others under its digest, and served."""

from __future__ import annotations

import json
import re

import pytest

from lab.testing import Done, Lab
from tests.lab.test_deploy import grand_total

HOSTS = 2
BUILDER, OTHER = "spark-01", "spark-02"
ADDRESS = "198.18.77.11:5000"
NAME = f"{ADDRESS}/vllm-gb10"
DIGESTS = f"docker images --digests --format '{{{{.Digest}}}}' {NAME}"
STATUS = "curl -s -m 10 -o /dev/null -w '%{http_code}' "


def data(lab: Lab, **more: str) -> dict[str, str]:
    base = json.dumps({"BASE": lab.state.images["vllm-standin"]})
    return {
        "image_builder": BUILDER,
        "image_registry": ADDRESS,
        "image_folder": "tests/fixtures/image",
        "image_build_memory_gib": "0.1",
        "image_build_args": base,
        "vllm_image": "",
        **more,
    }


def offered(done: Done) -> str:
    """The image that a run says can be served."""
    found = re.findall(r'put into group_data: vllm_image = "(\S+)"', done.stdout)
    assert len(found) == 1, done.stdout[-4000:]
    return str(found[0])


@pytest.fixture(scope="module")
def built(lab: Lab) -> str:
    done = lab.pyinfra("build.py", data=data(lab))
    assert done.returncode == 0, done.stdout[-6000:]
    return offered(done)


def test_every_host_has_the_very_image_that_one_of_them_built(lab: Lab, built: str) -> None:
    digest = built.removeprefix(f"{NAME}@")
    assert re.fullmatch(r"sha256:[0-9a-f]{64}", digest)
    assert {host: lab.text(host, DIGESTS) for host in lab.names} == dict.fromkeys(lab.names, digest)
    for host in lab.names:
        run = f"docker run --rm --entrypoint cat {built} /made.txt"
        assert lab.text(host, run) == "built by the fleet"
        assert lab.text(host, f"docker run --rm --entrypoint id {built} -u") == "2000"
    assert lab.text(OTHER, "ls /var/lib/vllm-fleet/builds 2>/dev/null | wc -l") == "0"
    assert lab.run(OTHER, "command -v docker-registry", check=False).returncode != 0


def test_the_second_run_builds_and_pulls_nothing(lab: Lab, built: str) -> None:
    done = lab.pyinfra("build.py", data=data(lab))
    assert done.returncode == 0 and offered(done) == built
    # What changes is only that the vendors' repositories are tried, until deploy.py defines them.
    assert grand_total(done.stdout)[1] == len(lab.names), done.stdout[-4000:]


def test_the_registry_takes_nothing_from_the_network(lab: Lab, built: str) -> None:
    upload = f"-X POST http://{ADDRESS}/v2/vllm-gb10/blobs/uploads/"
    assert lab.text(OTHER, STATUS + upload) == "405"
    assert lab.text(BUILDER, "systemctl is-enabled docker-registry || true") == "masked"
    listening = lab.text(BUILDER, "ss -Hltn 'sport = :5000' | awk '{print $4}'")
    assert listening == ADDRESS


def test_a_registry_that_lost_its_image_gets_it_again(lab: Lab, built: str) -> None:
    lab.run(BUILDER, "rm -r /var/lib/vllm-fleet/registry/*")
    lab.run(OTHER, f"docker image rm {built}")
    done = lab.pyinfra("build.py", data=data(lab))
    assert done.returncode == 0, done.stdout[-4000:]
    assert f"@{lab.text(OTHER, DIGESTS)}" in offered(done)


def test_without_buildkit_the_classic_builder_does_it(lab: Lab, built: str) -> None:
    """As where Docker came without its plugin; what is installed stays what it is."""
    record = "/var/lib/vllm-fleet/builds/*.json"
    plugin = lab.text(BUILDER, "find /usr/libexec /usr/lib -name docker-buildx -type f")
    lab.run(BUILDER, f"mv {plugin} {plugin}.off && rm {record}")
    done = lab.pyinfra("build.py", data=data(lab))
    lab.run(BUILDER, f"mv {plugin}.off {plugin}")
    assert done.returncode == 0, done.stdout[-4000:]
    assert json.loads(lab.text(BUILDER, f"cat {record}"))["builder"] == "classic"
    assert f"@{lab.text(OTHER, DIGESTS).splitlines()[0]}" in offered(done)


def test_a_build_that_fails_says_why_and_nobody_pulls(lab: Lab, built: str) -> None:
    absent = f"registry.lab:5000/absent@sha256:{'0' * 64}"
    before = lab.text(OTHER, DIGESTS)
    done = lab.pyinfra("build.py", data=data(lab, image_build_args=json.dumps({"BASE": absent})))
    assert done.returncode == 1
    lines = [line for line in done.stdout.splitlines() if "build: docker" in line]
    assert len(lines) == 1 and "not found" in lines[0], done.stdout[-4000:]
    assert "Traceback" not in done.stdout
    assert lab.text(OTHER, DIGESTS) == before


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ({"image_build_args": "{}"}, "image_build_args.BASE: missing"),
        ({"image_build_args": '{"BASE": "debian:13"}'}, "builds on 'debian:13', allowed: an image"),
        ({"image_builder": "spark-09"}, "image_builder: found 'spark-09', allowed: spark-01"),
        ({"image_build_memory_gib": "4096", "image_name": "other"}, "wanted 4096.0; stop what"),
    ],
)
def test_a_build_that_cannot_be_meant_is_refused(
    lab: Lab, built: str, more: dict[str, str], told: str
) -> None:
    done = lab.pyinfra("build.py", data=data(lab, **more))
    assert done.returncode == 1
    assert told in done.stdout, done.stdout[-4000:]
    assert "Traceback" not in done.stdout


def test_without_the_builder_in_the_run_nobody_pulls(lab: Lab, built: str) -> None:
    done = lab.pyinfra("build.py", "--limit", OTHER, data=data(lab))
    assert done.returncode == 1
    assert "spark-01 has built no image in this run; run without --limit" in done.stdout


def test_the_fleet_serves_what_it_built(lab: Lab, built: str) -> None:
    image = f"{NAME}@{lab.text(OTHER, DIGESTS).splitlines()[0]}"
    done = lab.pyinfra("deploy.py", data=data(lab, vllm_image=image))
    assert done.returncode == 0, done.stdout[-6000:]
    for host in lab.names:
        assert lab.text(host, "docker exec vllm id -u") == "2000"
        assert lab.text(host, "docker inspect -f '{{.Config.Image}}' vllm") == image
