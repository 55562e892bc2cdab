"""The Hub, the disk, the host and the controller fail while a model is downloaded."""

from __future__ import annotations

import re
import signal
import time
from typing import Any

import pytest

from lab.testing import Lab
from tests.lab.hub_host import FOLDER, HOST, SHARDS, SLOW, HubHost

ONE = "resolve/.*model-00003"


@pytest.fixture(scope="module")
def served(deployed: Lab) -> HubHost:
    return HubHost(deployed)


@pytest.fixture
def host(served: HubHost) -> HubHost:
    served.bare()
    return served


@pytest.mark.parametrize(
    "fault",
    [
        {"do": "reset", "bytes": 5000, "times": 3},
        {"do": "truncate", "bytes": 5000, "times": 3},
        {"do": "drop", "times": 3},
        {"do": "status", "status": 503, "times": 8},
    ],
    ids=lambda fault: str(fault["do"]),
)
def test_a_fault_that_passes_costs_only_its_file(host: HubHost, fault: dict[str, Any]) -> None:
    host.faults({"match": ONE, **fault})
    host.run()
    assert host.whole()
    others = [name for name in host.fetched() if name != "model-00003"]
    assert sorted(others) == sorted(set(others)) and len(others) == SHARDS - 1


def test_a_hub_that_stays_broken_is_told_and_what_came_stays(host: HubHost) -> None:
    host.faults({"match": ONE, "do": "status", "status": 503})
    line = host.refused("run again to go on", download_patience_s="5")
    assert "model-00003" in line and "503" in line, line
    host.faults()
    before = len(host.fetched())
    host.run()
    assert host.whole() and len(host.fetched()) - before < SHARDS


def test_a_slow_hub_is_followed_with_bytes_rate_and_time_left(host: HubHost) -> None:
    host.faults(SLOW)
    told = host.run().stdout
    assert re.search(r"download: \d+ s  lab/sharded: \d+ of 9 MiB, 0\.\d MB/s, \d+ s left", told)
    assert host.whole()


def test_wrong_bytes_are_set_aside_and_fetched_again(host: HubHost) -> None:
    host.faults({"match": ONE, "do": "corrupt", "times": 1, "method": "GET"})
    host.run()
    assert host.whole() and host.fetched().count("model-00003") == 2
    assert "set aside, not as locked: model-00003" in host.sh("journalctl -q -o cat")


def test_a_hub_with_other_bytes_than_locked_is_refused(host: HubHost) -> None:
    host.faults({"match": ONE, "do": "corrupt", "method": "GET"})
    line = host.refused("not as locked after 3 downloads")
    assert "model-00003" in line
    assert not host.whole()


@pytest.mark.parametrize(
    ("status", "words"),
    [(401, "or the token is refused"), (404, "has no such file at the locked commit")],
)
def test_a_file_that_the_hub_refuses_ends_the_download_at_once(
    host: HubHost, status: int, words: str
) -> None:
    host.faults({"match": ONE, "do": "status", "status": status})
    assert "model-00003" in host.refused(words)
    assert host.traces() == ""


def test_a_commit_that_is_gone_is_told_before_anything_changes(host: HubHost) -> None:
    host.faults({"match": "api/models/lab/sharded/", "do": "status", "status": 404})
    host.refused("lab/sharded: is missing or private")
    assert host.fetched() == []


def test_a_disk_without_room_is_told_before_the_first_byte(host: HubHost) -> None:
    host.sh("mount -t tmpfs -o size=6m none /srv/models/hub")
    host.refused("disk /srv/models/hub: found", disk_reserve_gib="0")
    assert host.fetched() == []


def test_a_disk_that_fills_on_the_way_breaks_nothing(host: HubHost) -> None:
    host.sh("mount -t tmpfs -o size=16m none /srv/models/hub")
    host.faults(SLOW)
    process = host.start(disk_reserve_gib="0")
    host.until(host.downloading)
    host.sh("dd if=/dev/zero of=/srv/models/hub/fill bs=64k")
    assert "the disk is full" in host.end(process, code=1)
    assert host.traces() == ""
    host.sh("rm /srv/models/hub/fill")
    host.faults()
    host.run(disk_reserve_gib="0")
    assert host.whole()


def test_a_killed_controller_does_not_stop_it_and_the_next_run_joins(host: HubHost) -> None:
    host.faults(SLOW)
    process = host.start()
    host.until(host.downloading)
    process.kill()
    process.wait()
    assert host.downloading()
    host.run()
    assert host.whole() and sorted(host.fetched()) == sorted(set(host.fetched()))


def test_two_runs_at_once_share_one_download(host: HubHost) -> None:
    host.faults(SLOW)
    both = [host.start(), host.start()]
    for process in both:
        host.end(process)
    assert host.whole() and sorted(host.fetched()) == sorted(set(host.fetched()))


def test_a_killed_host_goes_on_after_its_boot(host: HubHost) -> None:
    host.faults(SLOW)
    process = host.start()
    host.until(host.downloading)
    host.lab.kill(HOST)
    time.sleep(1)
    process.kill()
    process.wait()
    host.faults()
    host.lab.start(HOST)
    host.until(lambda: host.sh("docker info -f ok") == "ok")
    host.run()
    assert host.whole() and host.traces() == ""


def test_ctrl_c_leaves_it_running_and_cancel_stops_it(host: HubHost) -> None:
    host.faults(SLOW)
    process = host.start()
    host.until(host.downloading)
    time.sleep(2)
    process.send_signal(signal.SIGINT)
    told = host.end(process, code=130)
    assert f"{HOST}: the download goes on there" in told
    assert host.downloading()
    host.run(cancel="true")
    assert host.traces() == "" and not host.downloading()
    host.run(cancel="true")
    host.faults()
    host.run()
    assert host.whole()


def test_a_limit_is_kept(host: HubHost) -> None:
    began = time.monotonic()
    host.run(download_mbit="6")
    seconds = time.monotonic() - began
    size = int(host.sh(f"du -sbL {FOLDER}/snapshots").split()[0])
    print(f"{size / 1e6:.1f} MB in {seconds:.1f} s at 6 Mbit/s")
    assert host.whole() and seconds > 0.9 * size * 8 / 6e6
