"""vllm.service on a real host: starts, watches, stops and restarts a stand-in server."""

from __future__ import annotations

import time

import pytest

from lab.testing import Lab
from tests.lab.serving_host import CONTROL, A, ServingHost, prepared_hosts

HOSTS = 1
ID = "docker inspect -f '{{.Id}}' vllm"


@pytest.fixture(scope="module")
def prepared(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> ServingHost:
    return prepared_hosts(lab, tmp_path_factory.mktemp("host"))[0]


@pytest.fixture
def host(prepared: ServingHost) -> ServingHost:
    """A serves, and nothing is held against it."""
    prepared.healthy()
    prepared.run("rm -f /var/lib/vllm-fleet/starts.json; systemctl reset-failed vllm")
    return prepared


def replaced(host: ServingHost, before: str, bound_s: float = 60) -> None:
    """Wait until another container than ``before`` serves."""
    deadline = time.monotonic() + bound_s
    while host.unit() != "active" or host.run(ID, check=False).stdout.strip() in (before, ""):
        assert time.monotonic() < deadline, host.journal()
        time.sleep(0.3)
    assert host.serves() == "lab/a"
    assert host.containers() == [f"vllm {A}"]


def test_a_server_that_crashes_is_started_again(host: ServingHost) -> None:
    before = host.text(ID)
    host.run("docker kill vllm")
    replaced(host, before)
    assert "serve: the server exited with 137" in host.journal(60)


def test_a_wedged_server_is_found_and_started_again(host: ServingHost) -> None:
    before = host.text(ID)
    host.knobs(wedge=True)
    deadline = time.monotonic() + 40
    while host.run(ID, check=False).stdout.strip() == before:
        assert time.monotonic() < deadline, host.journal()
        time.sleep(0.3)
    host.run(f"rm {CONTROL}")
    replaced(host, before)
    assert "serve: wedged: " in host.journal(80)


def test_a_busy_server_is_never_killed(host: ServingHost) -> None:
    """Three times the stall time of prefill and a queue behind it."""
    before = host.text(ID)
    host.knobs(ttft_s=18.0)
    ask = "python3 /usr/local/lib/vllm-fleet/completion.py '{\"timeout_s\": 60}'"
    host.run(f"for i in 1 2 3; do systemd-run -q --unit=busy$i {ask}; done")
    time.sleep(15)
    said = host.unit("StatusText")  # the watchdog's own completion may be under way, too
    assert "3 running" in said or "4 running" in said
    assert host.text(ID) == before
    assert host.unit("NRestarts") == "0"


def test_a_killed_unit_leaves_no_container_and_comes_back(host: ServingHost) -> None:
    before = host.text(ID)
    host.run("systemctl kill -s KILL vllm")
    replaced(host, before)


def test_it_serves_again_after_a_reboot(host: ServingHost) -> None:
    before = host.text(ID)
    host.lab.reboot(host.name)
    replaced(host, before)


def test_dockers_own_death_does_not_touch_the_server(host: ServingHost) -> None:
    before = host.text(ID)
    host.run("systemctl kill -s KILL docker")
    time.sleep(15)
    assert (host.text(ID), host.unit(), host.unit("NRestarts")) == (before, "active", "0")
    assert host.serves() == "lab/a"
    host.run("docker kill vllm")  # it is followed again
    replaced(host, before)


def test_it_serves_and_can_be_stopped_without_docker(host: ServingHost) -> None:
    host.run("systemctl stop docker.socket docker")
    assert (host.unit(), host.serves()) == ("active", "lab/a")
    begun = time.monotonic()
    host.run("systemctl stop vllm")
    assert time.monotonic() - begun < 40
    assert (host.unit("Result"), host.serves()) == ("success", None)
    host.run("systemctl start docker.socket docker vllm")
    assert (host.serves(), host.containers()) == ("lab/a", [f"vllm {A}"])


def test_a_start_that_takes_longer_than_systemds_limit_is_not_cut_short(host: ServingHost) -> None:
    host.run("systemctl stop vllm")
    host.knobs(start_s=5.0)
    limits = "[Service]\nTimeoutStartSec=3\nRestartSec=1\n"
    host.lab.write(host.name, "/etc/systemd/system/vllm.service.d/test.conf", limits)
    host.run("systemctl daemon-reload; systemctl start vllm")
    assert host.serves() == "lab/a"
    host.install()


def test_a_server_without_requests_is_not_waited_for(host: ServingHost) -> None:
    """vLLM takes itself apart for seconds once it is told to stop."""
    host.knobs(teardown_s=60.0)
    begun = time.monotonic()
    host.run("systemctl stop vllm")
    assert time.monotonic() - begun < 20
    assert "request processing complete" in host.journal()
    assert (host.unit(), host.unit("Result"), host.containers()) == ("inactive", "success", [])


def test_a_stop_while_it_loads_takes_no_longer_than_the_kill(host: ServingHost) -> None:
    """vLLM swallows SIGTERM while it starts."""
    host.run("systemctl stop vllm")
    host.knobs(start_s=60.0)
    host.run("systemctl start --no-block vllm")
    deadline = time.monotonic() + 30
    while "loading weights" not in (told := host.unit("StatusText")):
        assert time.monotonic() < deadline, told
        time.sleep(0.2)
    begun = time.monotonic()
    host.run("systemctl stop vllm")
    assert time.monotonic() - begun < 25
    assert (host.unit(), host.unit("Result"), host.containers()) == ("inactive", "success", [])


def test_a_release_that_cannot_start_is_given_up_until_a_person_says_so(host: ServingHost) -> None:
    host.run("systemctl stop vllm")
    host.knobs(crash_at_start=4)
    host.run("systemctl start vllm", check=False)
    deadline = time.monotonic() + 60
    while host.unit() != "failed" or host.unit("ExecMainStatus") != "78":
        assert time.monotonic() < deadline, host.journal()
        time.sleep(0.3)
    line = next(line for line in host.journal(10).splitlines() if line.startswith("serve: "))
    assert f"release {A} failed to start 3 times (last: the server exited with 4)" in line
    assert "serve.py reset && systemctl start vllm" in line
    assert host.containers() == []

    host.lab.reboot(host.name)  # the boot must not try it a fourth time
    deadline = time.monotonic() + 30
    while host.unit() != "failed":
        assert time.monotonic() < deadline, host.journal()
        time.sleep(0.3)
    host.run(f"rm -f {CONTROL}; python3 /usr/local/lib/vllm-fleet/serve.py reset")
    host.run("systemctl start vllm")
    assert host.serves() == "lab/a"


def test_a_strangers_container_of_our_name_is_left_alone(host: ServingHost) -> None:
    host.run("systemctl stop vllm")
    host.run("docker create --name vllm --entrypoint /usr/bin/sleep lab/standin:test 60")
    stranger = host.text(ID)
    done = host.run("systemctl start vllm", check=False)
    assert done.returncode != 0
    assert "serve: container vllm (lab/standin:test, created) is not ours; " in host.journal()
    host.run("systemctl stop vllm")
    assert host.text(ID) == stranger
    host.run("docker rm vllm")


def test_a_stranger_on_our_port_is_named_before_a_server_is_started(host: ServingHost) -> None:
    host.run("systemctl stop vllm")
    host.run("systemd-run -q --unit=stranger python3 -m http.server --bind 127.0.0.1 8000")
    time.sleep(1)
    host.run("systemctl start vllm", check=False)
    host.run("systemctl stop vllm stranger", check=False)
    assert "serve: 127.0.0.1:8000 cannot be bound (Address already in use)" in host.journal()


def test_without_a_release_it_says_what_to_do_and_does_not_loop(host: ServingHost) -> None:
    host.run("systemctl stop vllm; mv /etc/vllm-fleet/current /root/current")
    done = host.run("systemctl start vllm", check=False)
    host.run("mv /root/current /etc/vllm-fleet/current")
    assert done.returncode != 0
    assert host.unit("ExecMainStatus") == "78"
    assert "names no staged release; nothing to serve, run deploy.py" in host.journal(8)


def test_the_unit_file_is_sound(host: ServingHost) -> None:
    done = host.run("systemd-analyze verify /etc/systemd/system/vllm.service", check=False)
    assert (done.returncode, done.stderr) == (0, "")
