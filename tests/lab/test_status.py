"""What is told of hosts that serve, that drifted, that do not answer, and that are bare."""

from __future__ import annotations

import json
from typing import Any

import pytest

from lab.testing import Lab
from tests.lab import operated
from tests.lab.serving_host import A, B, ServingHost

HOSTS = 2
COMMANDS = "journalctl -q -u ssh -o cat | grep -c 'Starting session: command' || true"


@pytest.fixture(scope="module")
def hosts(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> dict[str, ServingHost]:
    found = operated.prepared(lab, tmp_path_factory.mktemp("hosts"))
    operated.serve(found, A, B)
    return found


def standings(lab: Lab, *words: str, **data: str) -> dict[str, dict[str, Any]]:
    """Each host as JSON; standard output has nothing else."""
    done = operated.ran(lab, "status.py", *words, code=1, json="true", **data)
    body = json.loads(done.stdout[done.stdout.index("{\n") :].split("\n}\n")[0] + "\n}")
    return {one["host"]: one for one in body["hosts"]}


def test_a_serving_host_is_told_whole(lab: Lab, hosts: dict[str, ServingHost]) -> None:
    name, host = next(iter(hosts.items()))
    before = int(host.text(COMMANDS))
    one = standings(lab)[name]
    # Our own question of how many is one more.
    assert int(host.text(COMMANDS)) - before - 1 <= 3
    assert (one["release"], one["previous"], one["healthy"]) == (B, A, True)
    assert (one["mode"], one["model"], one["running"], one["waiting"]) == ("lab", "lab/tiny", 0, 0)
    assert one["tokens_per_s"] > 0
    assert one["mem_available_kib"] > 100_000
    assert one["since"].startswith("20")
    assert (one["lock"], one["as_declared"]) == (None, False)
    assert one["activation"].endswith("test: switched")
    assert f"release: found {B}, wanted {one['declared']}" in one["drift"]
    assert any(line.startswith("mode: lab → lab-standard") for line in one["drift"])
    assert any(line.startswith("image: ") for line in one["drift"])


def test_the_table_goes_to_standard_output_without_a_yes(
    lab: Lab, hosts: dict[str, ServingHost]
) -> None:
    done = lab.control("env", f"LAB_NAME={lab.state.name}", *operated.status_words(), timeout=120)
    assert done.returncode == 1, done.stderr
    assert "spark-01" in done.stdout.splitlines()[3]
    assert "lab/tiny" in done.stdout
    assert "Press enter" not in done.stderr


def test_each_kind_of_drift_is_named(lab: Lab, hosts: dict[str, ServingHost]) -> None:
    name, host = next(iter(hosts.items()))
    own = "/etc/systemd/system/vllm.service.d/own.conf"
    lab.write(name, own, "[Service]\nRestart=no\n")
    host.run("systemctl daemon-reload; systemctl restart vllm")
    host.run("echo '#' >> /usr/local/lib/vllm-fleet/old_releases.py; systemctl disable -q vllm")
    drift = standings(lab)[name]["drift"]
    assert "watchdog: cannot act: vllm.service has no Restart=on-failure" in drift
    assert any(line.startswith("host programs and unit: ") for line in drift), drift
    assert "vllm.service: found active, disabled, wanted active, enabled" in drift
    host.run(f"rm {own}")
    host.install()
    host.run("systemctl enable -q vllm; systemctl restart vllm")


def test_a_server_that_stopped_answering_is_down_and_told_why(
    lab: Lab, hosts: dict[str, ServingHost]
) -> None:
    name, host = list(hosts.items())[-1]
    host.run("systemctl stop vllm")
    told = standings(lab, logs="5")
    assert told[name]["healthy"] is False
    assert "vllm.service: found inactive, enabled, wanted active, enabled" in told[name]["drift"]
    assert any(line.startswith("completion: nothing listens on") for line in told[name]["drift"])
    assert len(told[name]["log"]) == 5
    assert told["spark-01"]["healthy"] is True
    host.run("systemctl start vllm")


def test_who_holds_the_lock_is_told(lab: Lab, hosts: dict[str, ServingHost]) -> None:
    name, host = next(iter(hosts.items()))
    host.run("mkdir /run/vllm-fleet.lock")
    one = standings(lab)[name]
    assert one["lock"] == "nobody known (stale: its holder left no note)"
    host.run("rmdir /run/vllm-fleet.lock")


def test_a_host_out_of_reach_is_told_beside_the_others(
    lab: Lab, hosts: dict[str, ServingHost]
) -> None:
    name = list(hosts)[-1]
    lab.cut(name)
    try:
        told = standings(lab)
    finally:
        lab.mend(name)
    assert told[name]["drift"] == ["no connection"]
    assert told["spark-01"]["healthy"] is True


def test_a_bare_host_has_nothing_and_is_told_so(lab: Lab, hosts: dict[str, ServingHost]) -> None:
    name = list(hosts)[-1]
    lab.reset(name)
    one = standings(lab)[name]
    assert one["release"] is None
    assert any(line.startswith("release: found none") for line in one["drift"])
