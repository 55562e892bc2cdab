"""The transaction on a real host: systemd, Docker, and a stand-in that fails on request."""

from __future__ import annotations

import json
import time

import pytest

from lab.testing import Lab
from tests.lab.serving_host import A, B, C, ServingHost, prepared_hosts, spread

HOSTS = 3
BOOT_ID = "cat /proc/sys/kernel/random/boot_id"
CRASH = {"crash_at_start": 3}


@pytest.fixture(scope="module")
def hosts(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> list[ServingHost]:
    return prepared_hosts(lab, tmp_path_factory.mktemp("hosts"))


@pytest.fixture(scope="module")
def prepared(hosts: list[ServingHost]) -> ServingHost:
    return hosts[0]


@pytest.fixture
def bare(prepared: ServingHost) -> ServingHost:
    """Releases a, b and c are staged; nothing was ever activated."""
    prepared.clean()
    for digest in (A, B, C):
        prepared.stage(digest)
    return prepared


@pytest.fixture
def host(prepared: ServingHost) -> ServingHost:
    """A serves."""
    prepared.healthy()
    return prepared


def test_from_nothing_to_a_switch_and_back(bare: ServingHost) -> None:
    first = bare.switched(A)
    assert (first["outcome"], first["before"], first["downtime_s"]) == ("switched", None, 0.0)
    assert bare.serves() == "lab/a"
    assert bare.unit("UnitFileState") == "enabled"

    before = bare.text("docker inspect -f '{{.Id}}' vllm")
    bare.run("systemctl disable vllm")
    again = bare.switched(A)
    assert (again["outcome"], again["serving"]) == ("unchanged", A)
    assert bare.unit("UnitFileState") == "enabled"
    assert bare.text("docker inspect -f '{{.Id}}' vllm") == before

    second = bare.switched(B)
    assert (second["outcome"], second["serving"], second["before"]) == ("switched", B, A)
    assert 0 < second["downtime_s"] < second["seconds"] < 15
    assert second["gate"]["completion_tokens"] == 16
    assert (bare.link("current"), bare.link("previous")) == (B, A)
    assert bare.containers() == [f"vllm {B}"]

    assert bare.switched("previous")["serving"] == A
    assert (bare.serves(), bare.link("previous")) == ("lab/a", B)
    line = bare.audit()
    assert (line["outcome"], line["before"], line["after"], line["who"]) == (
        "switched",
        B,
        A,
        "ann",
    )
    assert not bare.run("ls -d /run/vllm-fleet.lock", check=False).stdout


def test_a_first_release_that_fails_leaves_the_host_as_it_was(bare: ServingHost) -> None:
    bare.knobs(**CRASH)
    report = bare.switched(A)
    assert (report["outcome"], report["serving"]) == ("reverted", None)
    assert "the server exited with 3; it was the first release: nothing serves" in report["reason"]
    assert (bare.link("current"), bare.containers()) == ("none", [])
    assert bare.unit() in ("inactive", "failed")
    assert bare.unit("UnitFileState") == "disabled"


FAULTS: list[tuple[dict[str, object], str]] = [
    ({"never_ready": True}, "(ready_timeout_s 6)"),
    ({"wedge": True}, "(ready_timeout_s 6)"),
    (CRASH, "the server exited with 3"),
    ({"served_name": "lab/other"}, "answers, but serves lab/other, wanted lab/b"),
    ({"empty_text": True}, "answers, but the completion has 0 tokens"),
    ({"error_500": True}, "answers, but /v1/completions: HTTP 500"),
    ({"crash_after_s": 0.5}, "the server exited with 1"),
    ({"crash_after_requests": 2}, "the server exited with 1"),
]


def test_a_release_that_does_not_serve_is_taken_back(hosts: list[ServingHost]) -> None:
    def check(host: ServingHost, case: tuple[dict[str, object], str]) -> None:
        knobs, reason = case
        if "ready_timeout_s" in reason:
            host.stage(B, ready_timeout_s=6)
        host.knobs("lab/b", **knobs)
        report = host.switched(B)
        assert (report["outcome"], report["serving"]) == ("reverted", A), report
        assert reason in report["reason"], report["reason"]
        assert any("standin" in line for line in report["log"]), report["log"]
        assert host.serves() == "lab/a"
        assert (host.link("current"), host.link("previous")) == (A, "none")
        assert host.containers() == [f"vllm {A}"]
        assert host.audit()["outcome"] == "reverted"

    spread(hosts, FAULTS, check)


def test_when_going_back_fails_too_it_is_told_and_the_next_good_release_heals(
    host: ServingHost,
) -> None:
    host.knobs(**CRASH)
    report = host.switched(B)
    assert (report["outcome"], report["serving"]) == ("revert_failed", None)
    assert (
        f"the server exited with 3; going back to {A} failed: the server exited"
        in (report["reason"])
    )
    assert host.link("current") == A
    host.knobs("lab/a", **CRASH)
    assert host.switched(B)["outcome"] == "switched"
    assert host.serves() == "lab/b"


def test_two_at_once_the_second_is_told_who_is_at_work(host: ServingHost) -> None:
    host.knobs(start_s=2.0)
    assert host.activate(B).returncode == 0
    second = host.activate(C, who="bob")
    assert second.returncode == 75
    assert second.stderr.startswith("activate: /run/vllm-fleet.lock is held by ann from desk")
    assert "--data break_lock=true" in second.stderr
    assert second.stderr.count("\n") == 1
    assert host.outcome()["serving"] == B


def test_breaking_the_lock_takes_over_and_still_knows_the_way_back(host: ServingHost) -> None:
    host.knobs("lab/b", never_ready=True)
    host.caught(B, "starting")
    host.knobs("lab/c", **CRASH)
    report = host.switched(C, break_lock=True, who="bob")
    assert (report["outcome"], report["serving"]) == ("reverted", A)
    assert "took over the lock of ann from desk" in report["notes"][0]
    assert "was left in phase " in report["notes"][0]
    assert host.serves() == "lab/a"


def test_a_lock_left_behind_is_explained_and_taken(host: ServingHost) -> None:
    owner = {
        "who": "ann", "origin": "desk", "what": "activate x", "since": time.time() - 60,
        "pid": 999_999, "pid_started": 1, "boot_id": host.text(BOOT_ID),
    }  # fmt: skip
    host.lab.write(host.name, "/run/vllm-fleet.lock/owner.json", json.dumps(owner))
    report = host.switched(B)
    assert report["outcome"] == "switched"
    assert "its process 999999 is gone" in report["notes"][0]


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (f"rm -r /etc/vllm-fleet/releases/{B}", f"releases/{B}/release.json does not exist"),
        (f"rm /etc/vllm-fleet/releases/{B}/vllm.yaml", "lacks vllm.yaml"),
        (f"echo '{{' > /etc/vllm-fleet/releases/{B}/compose.yaml", "compose.yaml is not valid"),
        (f"echo '{{}}' > /etc/vllm-fleet/releases/{B}/release.json", "digest: found None"),
        (f"sed -i s,lab/standin:test,lab/none:1, /etc/vllm-fleet/releases/{B}/release.json",
         "image lab/none:1 is not on this host"),
    ],
)  # fmt: skip
def test_what_cannot_start_is_refused_before_anything_stops(
    host: ServingHost, spoil: str, told: str
) -> None:
    before = host.text("docker inspect -f '{{.Id}}' vllm")
    host.run(spoil)
    done = host.activate(B)
    assert (done.returncode, done.stderr.count("\n")) == (78, 1)
    assert told in done.stderr
    assert host.text("docker inspect -f '{{.Id}}' vllm") == before
    assert not host.run("ls -d /run/vllm-fleet.lock", check=False).stdout


def test_requests_in_flight_are_answered_before_the_switch(host: ServingHost) -> None:
    host.knobs("lab/a", itl_s=0.1, teardown_s=60.0)  # nobody waits for what holds no request
    request = json.dumps({"max_tokens": 40})
    host.run(
        f"systemd-run -q --unit=client -p StandardOutput=file:/tmp/client.json "
        f"python3 /usr/local/lib/vllm-fleet/completion.py '{request}'"
    )
    time.sleep(0.5)
    report = host.switched(B)
    assert report["outcome"] == "switched" and report["downtime_s"] < 40, report
    answer = json.loads(host.text("cat /tmp/client.json"))
    assert (answer["ok"], answer["completion_tokens"]) == (True, 40)


def test_old_releases_go_and_needed_ones_stay(host: ServingHost) -> None:
    for digit in "0123":
        host.stage(digit * 12)
        time.sleep(0.05)
    assert host.switched(B, keep_releases=2)["outcome"] == "switched"
    time.sleep(0.5)
    kept = host.text("ls /etc/vllm-fleet/releases").split()
    assert kept == ["2" * 12, "3" * 12, A, B]
    kept_by_program = json.loads(
        host.text("python3 -B /usr/local/lib/vllm-fleet/activate.py prune")
    )
    assert {item["digest"] for item in kept_by_program["kept"]} == set(kept)
    assert all("image" in item for item in kept_by_program["kept"])
