"""Hosts die while they pass a model on: the others end with it, and the next run heals the rest."""

from __future__ import annotations

import pytest

from lab.testing import Lab
from tests.lab.fanout import UNITS, Sharing

HOSTS = 3
FIRST, SECOND, THIRD = "spark-01", "spark-02", "spark-03"
SLOW_MBIT = 6.0  # 9.4 MiB take 13 s


@pytest.fixture(scope="module")
def shared(deployed: Lab) -> Sharing:
    found = Sharing(deployed)
    found.bare()
    done = found.run()
    assert done.returncode == 0, done.stdout[-8000:]
    return found


@pytest.fixture
def sharing(shared: Sharing) -> Sharing:
    """The first host has the model, the others do not, and cables are slow."""
    shared.bare(SECOND, THIRD)
    for host in shared.lab.names:
        shared.lab.cap(host, SLOW_MBIT)
    return shared


def test_a_host_that_dies_in_the_middle_does_not_stop_the_one_behind_it(sharing: Sharing) -> None:
    process = sharing.start()
    try:
        sharing.until(lambda: sharing.part(THIRD) > 2 << 20)
        sharing.lab.kill(SECOND)
        sharing.until(lambda: sharing.whole(THIRD), 120)
    finally:
        process.kill()
        process.communicate()
        sharing.lab.start(SECOND)
        for host in sharing.lab.names:
            sharing.lab.cap(host, 0)
    done = sharing.run()
    assert done.returncode == 0, done.stdout[-8000:]
    assert sharing.whole(SECOND) and not sharing.fetched()


def test_a_controller_that_is_killed_does_not_stop_them(sharing: Sharing) -> None:
    process = sharing.start()
    sharing.until(lambda: sharing.part(THIRD) > 2 << 20)
    process.kill()
    process.communicate()
    sharing.until(lambda: sharing.whole(SECOND) and sharing.whole(THIRD))
    assert not sharing.fetched()
    for host in sharing.lab.names:
        sharing.lab.cap(host, 0)
    done = sharing.run()
    assert done.returncode == 0, done.stdout[-8000:]


def test_what_came_of_a_part_is_not_sent_again(sharing: Sharing) -> None:
    process = sharing.start()
    sharing.until(lambda: sharing.part(THIRD) > 4 << 20)
    process.kill()
    process.communicate()
    for host in sharing.lab.names:
        sharing.sh(host, f"systemctl stop '{UNITS}'")
    had = sharing.part(THIRD)
    device = f"{THIRD}"  # the lab's own end of its cable
    counted = f"cat /sys/class/net/{device}/statistics/tx_bytes"
    before = int(sharing.lab.control("sh", "-c", counted).stdout)
    done = sharing.run()
    assert done.returncode == 0, done.stdout[-8000:]
    sent = int(sharing.lab.control("sh", "-c", counted).stdout) - before
    assert sharing.whole(THIRD)
    assert sent < sharing.part(THIRD) - had + (2 << 20), (had, sent)
