"""Back to the release before, host by host, and never further."""

from __future__ import annotations

import pytest

from lab.testing import Lab
from tests.lab import operated
from tests.lab.serving_host import A, B, ServingHost

HOSTS = 2


@pytest.fixture(scope="module")
def hosts(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> dict[str, ServingHost]:
    return operated.prepared(lab, tmp_path_factory.mktemp("hosts"))


def test_back_once_and_not_again(lab: Lab, hosts: dict[str, ServingHost]) -> None:
    operated.serve(hosts, A, B)
    done = operated.ran(lab, "rollback.py", code=0, reason="worse answers")
    for name, result in operated.results(done).items():
        assert (result["outcome"], result["proved"]) == ("switched", True), done.stdout
        assert (result["release_before"], result["release"]) == (B, A)
        assert result["downtime_s"] > 0
        assert hosts[name].serves() == "lab/a"
        audit = hosts[name].audit()
        assert str(audit["why"]).startswith("rollback: worse answers (run ")
    assert {result["wave"] for result in operated.results(done).values()} == {0, 1}

    again = operated.ran(lab, "rollback.py", code=0)
    assert [r["outcome"] for r in operated.results(again).values()] == ["serving", "serving"]
    assert all(host.serves() == "lab/a" for host in hosts.values())


def test_dry_changes_nothing(lab: Lab, hosts: dict[str, ServingHost]) -> None:
    operated.serve(hosts, A, B)
    done = operated.ran(lab, "rollback.py", "--dry", code=0)
    assert f"release {B} → {A}" in done.stdout
    assert "served name: lab/b → lab/a" in done.stdout
    assert all(host.serves() == "lab/b" for host in hosts.values())


def test_a_host_without_a_previous_release_is_told_and_left(
    lab: Lab, hosts: dict[str, ServingHost]
) -> None:
    first, second = hosts.values()
    operated.serve({first.name: first}, A)
    operated.serve({second.name: second}, A, B)
    done = operated.ran(lab, "rollback.py", code=1)
    results = operated.results(done)
    assert results[first.name]["outcome"] == "untouched"
    assert results[first.name]["reason"] == "it has no previous release to go back to"
    assert results[second.name]["outcome"] == "switched"
    assert (first.serves(), second.serves()) == ("lab/a", "lab/a")


def test_a_previous_release_that_fails_leaves_the_fleet_where_it_was(
    lab: Lab, hosts: dict[str, ServingHost]
) -> None:
    operated.serve(hosts, A, B)
    last = list(hosts.values())[-1]
    last.knobs("lab/a", crash_at_start=3)
    done = operated.ran(lab, "rollback.py", code=3)
    assert [r["outcome"] for r in operated.results(done).values()] == ["reverted", "reverted"]
    assert f"went back because {last.name} failed" in done.stdout
    assert all(host.serves() == "lab/b" for host in hosts.values())
    last.knobs()

    mended = operated.ran(lab, "rollback.py", code=0)
    assert [r["outcome"] for r in operated.results(mended).values()] == ["switched", "switched"]
    assert all(host.serves() == "lab/a" for host in hosts.values())
