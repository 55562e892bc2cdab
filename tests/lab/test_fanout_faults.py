"""Hosts die while they pass a model on: the others end with it, and the next run heals the rest."""

from __future__ import annotations

import json
import re

import pytest

from lab.testing import Lab
from tests.lab.fanout import CLOSE, FOLDER, UNITS, Sharing

HOSTS = 3
FIRST, SECOND, THIRD = "spark-01", "spark-02", "spark-03"
SLOW_MBIT = 6.0  # 9.4 MiB take 13 s
SPOIL = f"""python3 - <<'END'
import os, pathlib
blob = max(pathlib.Path("{FOLDER}/blobs").iterdir(), key=lambda path: path.stat().st_size)
was = blob.stat()
with blob.open("r+b") as file:
    file.seek(was.st_size // 2)
    byte = file.read(1)
    file.seek(-1, 1)
    file.write(bytes([byte[0] ^ 1]))
os.utime(blob, ns=(was.st_atime_ns, was.st_mtime_ns))
END"""


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


def carried(sharing: Sharing) -> int:
    """Bytes that the third host's cable has brought it."""
    shown = sharing.lab.control("ip", "-json", "-stats", "link", "show", "dev", THIRD).stdout
    return int(json.loads(shown)[0]["stats64"]["tx"]["bytes"])


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
    before = carried(sharing)
    done = sharing.run()
    assert done.returncode == 0, done.stdout[-8000:]
    sent = carried(sharing) - before
    assert sharing.whole(THIRD)
    assert sent < sharing.part(THIRD) - had + (2 << 20), (had, sent)


def test_a_bad_block_is_set_aside_and_taken_from_another_host(sharing: Sharing) -> None:
    """The second host remembers its file as good, so it gives it on; the disk changed it since."""
    lab = sharing.lab
    for host in lab.names:
        lab.cap(host, 0)
    assert sharing.run().returncode == 0 and sharing.whole(SECOND)
    sharing.bare(THIRD)
    sharing.sh(SECOND, SPOIL)
    done = sharing.run()
    assert done.returncode == 0, done.stdout[-8000:]
    assert sharing.whole(THIRD) and not sharing.whole(SECOND)
    said = sharing.sh(THIRD, f"journalctl --quiet --output=cat --unit '{UNITS}'")
    assert "set aside, not as locked" in said
    assert not sharing.fetched()
    assert sharing.run("--data", "deep_check=true").returncode == 0
    assert sharing.whole(SECOND)


def test_the_source_dies_and_the_others_take_it_from_the_hub(sharing: Sharing) -> None:
    process = sharing.start()
    try:
        sharing.until(lambda: sharing.part(THIRD) > 2 << 20)
        sharing.lab.kill(FIRST)
        sharing.until(lambda: sharing.whole(SECOND) and sharing.whole(THIRD), 240)
    finally:
        process.kill()
        process.communicate()
        sharing.lab.start(FIRST)
        for host in sharing.lab.names:
            sharing.lab.cap(host, 0)
    done = sharing.run()
    assert done.returncode == 0, done.stdout[-8000:]


def test_hosts_that_cannot_reach_each_other_say_so_and_use_the_hub(sharing: Sharing) -> None:
    lab = sharing.lab
    for host in lab.names:
        lab.cap(host, 0)
        lab.run(host, CLOSE)
    try:
        done = sharing.run()
    finally:
        for host in lab.names:
            lab.run(host, "nft delete table inet closed")
    assert done.returncode == 0, done.stdout[-8000:]
    assert sharing.whole(SECOND) and sharing.whole(THIRD)
    told = re.findall(r"from the Hub itself: .* no other host can be reached at TCP", done.stdout)
    assert len(told) == 2, done.stdout[-8000:]
    assert set(sharing.fetched().values()) == {2}
