"""The transaction killed, cut from power, or out of disk, in every phase."""

from __future__ import annotations

import time

import pytest

from lab.testing import Lab
from tests.lab.serving_host import A, B, ServingHost, prepared_hosts, spread

HOSTS = 3
CRASH = {"crash_at_start": 3}


@pytest.fixture(scope="module")
def hosts(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> list[ServingHost]:
    return prepared_hosts(lab, tmp_path_factory.mktemp("hosts"))


FORWARD = ("locked", "draining", "stopping", "flipped", "starting", "gating")
BACK = ("reverting", "restarting", "regating")


def test_a_killed_activation_goes_on_by_itself_from_every_phase(hosts: list[ServingHost]) -> None:
    def check(host: ServingHost, phase: str) -> None:
        if phase in BACK:
            host.knobs("lab/b", **CRASH)
        host.caught(B, phase)
        host.run("systemctl kill -s KILL vllm-fleet-activate")
        report = host.outcome()
        ends = ("reverted", "lab/a") if phase in BACK else ("switched", "lab/b")
        assert (report["outcome"], host.serves()) == ends, report
        assert len(host.containers()) == 1

    spread(hosts, [*BACK, *FORWARD], check)


def test_a_power_cut_in_every_phase_ends_with_the_old_release(hosts: list[ServingHost]) -> None:
    def check(host: ServingHost, phase: str) -> None:
        if phase in BACK:
            host.knobs("lab/b", **CRASH)
        host.caught(B, phase)
        host.lab.kill(host.name)
        host.lab.start(host.name)
        report = host.outcome()
        assert (report["outcome"], report["serving"]) == ("reverted", A), report
        why = "the server exited with 3" if phase in BACK else f"went down in phase {phase}"
        assert why in report["reason"], report["reason"]
        assert (host.serves(), host.link("current")) == ("lab/a", A)
        assert host.audit()["outcome"] == "reverted"

    spread(hosts, [*BACK, *FORWARD], check)


def test_a_power_cut_in_the_first_activation_ends_with_it_serving(hosts: list[ServingHost]) -> None:
    bare = hosts[0]
    bare.clean()
    bare.stage(A)
    bare.caught(A, "starting")
    bare.lab.kill(bare.name)
    bare.lab.start(bare.name)
    assert bare.outcome()["outcome"] == "switched"
    assert bare.serves() == "lab/a"


def test_a_power_cut_on_the_way_back_from_the_first_ends_with_nothing(
    hosts: list[ServingHost],
) -> None:
    bare = hosts[0]
    bare.clean()
    bare.stage(A)
    bare.knobs(**CRASH)
    bare.caught(A, "reverting")
    bare.lab.kill(bare.name)
    bare.lab.start(bare.name)
    report = bare.outcome()
    assert (report["outcome"], report["serving"]) == ("reverted", None), report
    assert (bare.link("current"), bare.unit("UnitFileState")) == ("none", "disabled")


def test_a_first_release_that_takes_the_host_down_while_it_loads_is_given_up(
    hosts: list[ServingHost],
) -> None:
    bare = hosts[0]
    bare.clean()
    bare.stage(A)
    bare.knobs(start_s=60.0)
    assert bare.activate(A).returncode == 0
    for _ in range(3):
        deadline = time.monotonic() + 60
        while "loading weights" not in (told := bare.unit("StatusText")):
            assert time.monotonic() < deadline, told
            time.sleep(0.2)
        bare.lab.kill(bare.name)
        bare.lab.start(bare.name)
    report = bare.outcome()
    assert (report["outcome"], report["serving"]) == ("reverted", None), report
    assert f"release {A} failed to start 3 times" in report["reason"], report["reason"]
    assert (bare.link("current"), bare.containers()) == ("none", [])


def test_a_full_disk_while_it_flips_ends_with_the_old_release(
    hosts: list[ServingHost],
) -> None:
    host = hosts[0]
    host.healthy()
    host.caught(B, "flipped")
    # The record cannot be written any more: its folder is covered by a full file system.
    host.run(
        "mkdir -p /tmp/full && mount -t tmpfs -o size=64k none /tmp/full && "
        "cp -r /var/lib/vllm-fleet/*.json /tmp/full/ && mkdir /tmp/full/cache && "
        "mount --bind /var/lib/vllm-fleet/cache /tmp/full/cache && "
        "mount --rbind /tmp/full /var/lib/vllm-fleet && "
        "(dd if=/dev/zero of=/var/lib/vllm-fleet/fill bs=1k 2>/dev/null || true)"
    )
    try:
        host.run("systemctl kill -s CONT vllm-fleet-activate")
        report = host.outcome()
        assert (report["outcome"], report["serving"]) == ("reverted", A)
        assert "No space left" in report["reason"]
        assert host.serves() == "lab/a"
    finally:
        host.run("umount -l /var/lib/vllm-fleet /tmp/full/cache /tmp/full", check=False)
