"""One host takes an image from the registry, the others its layers from it, under its digest."""

from __future__ import annotations

import pytest

from lab.testing import Lab
from tests.lab.fanout import CLOSE
from tests.lab.image_sharing import Images

HOSTS = 3
FIRST, SECOND, THIRD = "spark-01", "spark-02", "spark-03"


@pytest.fixture(scope="module")
def images(deployed: Lab) -> Images:
    made = Images(deployed)
    made.push(layers=4, mib=3)
    return made


@pytest.fixture
def bare(images: Images) -> Images:
    images.remove()
    return images


def test_each_layer_leaves_the_registry_once_and_every_host_has_the_digest(bare: Images) -> None:
    done = bare.run()
    assert done.returncode == 0, done.stdout[-8000:]
    assert all(bare.present(host) for host in bare.lab.names)
    assert set(bare.blobs_fetched().values()) == {1}, bare.blobs_fetched()
    again = bare.run()
    assert again.returncode == 0 and not bare.jobs(again), again.stdout[-4000:]


def test_layers_that_docker_has_do_not_travel(bare: Images) -> None:
    """As when the image is built anew with another last layer."""
    assert bare.run().returncode == 0
    below = bare.image
    bare.push(layers=1, mib=1, base=below)
    try:
        bare.remove()
        done = bare.run()
        assert done.returncode == 0 and all(bare.present(host) for host in bare.lab.names)
        assert len(bare.blobs_fetched()) == 2, "its layer and its configuration"
        bare.remove()
    finally:
        bare.image = below


def test_nothing_of_it_stays_behind(bare: Images) -> None:
    assert bare.run().returncode == 0
    for host in bare.lab.names:
        bare.sh(host, "systemctl stop 'vllm-fleet-fan-out-*'")
        assert bare.sh(host, "find /var/lib/vllm-fleet/images -type f") == ""
        assert "127.0.0.1" not in bare.sh(host, "docker images --digests")
        assert bare.present(host)


def test_hosts_that_cannot_reach_each_other_pull_for_themselves(bare: Images) -> None:
    for host in bare.lab.names:
        bare.lab.run(host, CLOSE)
    try:
        done = bare.run()
    finally:
        for host in bare.lab.names:
            bare.sh(host, "nft delete table inet closed")
    assert done.returncode == 0, done.stdout[-8000:]
    assert all(bare.present(host) for host in bare.lab.names)


def test_the_source_dies_and_the_others_end_with_the_image(bare: Images) -> None:
    for host in bare.lab.names:
        bare.lab.cap(host, 8)
    process = bare.start()
    try:
        bare.until(lambda: bare.arrived(THIRD) > 2 << 20)
        bare.lab.kill(FIRST)
        bare.until(lambda: bare.present(SECOND) and bare.present(THIRD), 240)
    finally:
        process.kill()
        process.communicate()
        bare.lab.start(FIRST)
        for host in bare.lab.names:
            bare.lab.cap(host, 0)
    done = bare.run()
    assert done.returncode == 0 and bare.present(FIRST), done.stdout[-8000:]
