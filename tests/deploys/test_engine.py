"""What this project changes about a pyinfra run: checked before, truthful after."""

from __future__ import annotations

import inspect
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from deploys import engine
from tests.deploys.command_line import (
    GOOD,
    REPO,
    fake_inventory,
    inventory,
    port,
    run,
    words,
)

CHANGES = """
from pyinfra.operations import server

server.shell(name="Change something", commands=["true"])
"""
MEETING = """
import gevent
from pyinfra.operations import python

from deploys.report import RUN


def meet(state, host):
    RUN.of(host.name).proved = True
    with gevent.Timeout(30):
        while not all(result.proved for result in RUN.results.values()):
            gevent.sleep(0.05)


python.call(name="Wait for every other host", function=meet)
"""
IDLE = """
from pyinfra import host

host.noop("nothing to do")
"""
BAD = {
    "vllm_mode": "nvpf4",
    "vllm_model": "../tiny",
    "vllm_image": "vllm/vllm-openai:latest",
    "memory_flor_gib": 8.0,
    "port": "8000",
    "listen": "localhost",
    "driver_version": "590.48.01",
    "nvidia_key_fingerprint": "12AB",
    "docker_version": "",
    "wave_size": 0,
    "on_failure": "retry",
    "logs": 50,
}


@pytest.mark.parametrize(("wish", "kept"), [("", True), ("1", False)])
def test_bytecode_is_kept_unless_the_user_wants_none(wish: str, kept: bool, tmp_path: Path) -> None:
    program = "import sys; sys.dont_write_bytecode = True; import deploys"  # as pyinfra does
    told = {"PYTHONPYCACHEPREFIX": str(tmp_path), "PYTHONDONTWRITEBYTECODE": wish}
    environment = {**os.environ, **told}
    subprocess.run([sys.executable, "-c", program], cwd=REPO, env=environment, check=True)
    assert bool(list(tmp_path.rglob("engine.*.pyc"))) == kept


@pytest.fixture
def deploy(tmp_path: Path) -> Path:
    path = tmp_path / "changes.py"
    path.write_text(CHANGES)
    return path


def test_what_is_replaced_in_pyinfra_is_still_there_and_called_the_same() -> None:
    replaced = engine.replacements()
    assert len(replaced) == 18
    for place, name, ours in replaced:
        theirs = getattr(place, name)
        assert callable(theirs)
        assert len(inspect.signature(theirs).parameters) == len(inspect.signature(ours).parameters)


def test_every_mistake_is_one_line_and_no_host_is_contacted(tmp_path: Path) -> None:
    with port() as listener:
        hosts = inventory(tmp_path, listener.number, data={**GOOD, **BAD})
        done = run(hosts, "deploy.py", "-y")
        assert done.returncode == 1, done.stdout
        assert listener.seen == []
    assert f"{len(BAD)} mistakes in the settings; no host was contacted" in done.stdout
    place = tmp_path / "group_data" / "all.py"
    for key in BAD:
        lines = [line for line in done.stdout.splitlines() if line.startswith(f"{place}: {key}: ")]
        assert len(lines) == 1, (key, done.stdout)
    assert "did you mean 'nvfp4'?" in done.stdout
    assert "did you mean 'memory_floor_gib'?" in done.stdout
    assert "Traceback" not in done.stdout


def test_a_mistake_on_the_command_line_says_so(tmp_path: Path) -> None:
    with port() as listener:
        hosts = inventory(tmp_path, listener.number)
        done = run(hosts, "switch.py", "-y", "--data", "vllm_mode=nope")
        assert (done.returncode, listener.seen) == (1, []), done.stdout
    assert "--data: vllm_mode: found 'nope', allowed: " in done.stdout


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ("canary=spark-10", "found 'spark-10', allowed: fleet, hosts, spark-01, spark-02; "),
        ("canary=flet", "did you mean 'fleet'?"),
        ("cache_server=fleet", "cache_server: found 'fleet', allowed: spark-01, spark-02"),
    ],
)
def test_a_host_that_is_not_in_the_inventory(tmp_path: Path, given: str, told: str) -> None:
    with port() as listener:
        hosts = inventory(tmp_path, listener.number)
        done = run(hosts, "switch.py", "-y", "--data", given)
        assert (done.returncode, listener.seen) == (1, []), done.stdout
    assert told in done.stdout


@pytest.mark.parametrize("canary", ["fleet", "spark-02"])
def test_a_canary_that_the_run_leaves_out_is_no_mistake(tmp_path: Path, canary: str) -> None:
    with port() as listener:
        hosts = inventory(tmp_path, listener.number)
        run(hosts, "switch.py", "-y", "--limit", "spark-01", "--data", f"canary={canary}")
        assert len(listener.seen) == 1


@pytest.mark.parametrize("deploy_file", ["deploy.py", "status.py", "bootstrap.py"])
def test_a_private_key_that_is_not_there(tmp_path: Path, deploy_file: str) -> None:
    (tmp_path / "key.pub").write_text("ssh-ed25519 AAAA")
    data = {**GOOD, "ssh_key": "/nope", "public_key": str(tmp_path / "key.pub")}
    with port() as listener:
        done = run(inventory(tmp_path, listener.number, data=data), deploy_file, "-y")
        assert (done.returncode, listener.seen) == (1, []), done.stdout
    told = "ssh_key: found '/nope', No such private key file: /nope; allowed: a readable private"
    assert done.stdout.count(told) == 2, done.stdout
    assert "Traceback" not in done.stdout
    assert ("unreachable: spark-01, spark-02; nothing" in done.stdout) == (
        deploy_file != "status.py"
    )


def test_good_settings_do_lead_to_a_connection(tmp_path: Path) -> None:
    """The other side of the tests above: their port would have noticed one."""
    with port() as listener:
        hosts = inventory(tmp_path, listener.number)
        done = run(hosts, "deploy.py", "-y")
        assert len(listener.seen) >= 2
    assert done.returncode == 1
    assert "unreachable: spark-01, spark-02; nothing was changed on any host" in done.stdout
    assert "--exclude spark-01" in done.stdout


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (["--limit", "spark-99"], "--limit: found spark-99, which matches no host; allowed: fleet"),
        (["--limit", "spark-01", "--limit", "x*"], "--limit: found x*, which matches no host"),
        (["--exclude", "sprak-01"], "--exclude: found sprak-01, which matches no host"),
        (["--exclude", "spark-*"], "found no host to work on"),
        (["--parallel", "1"], "PARALLEL: found 1, allowed: at least 2"),
        (["--dry"], "--dry: found -y (or PYINFRA_YES) beside it"),
        (["--data", "_serial=true"], "--data: _serial: not allowed, waves need all hosts at once"),
    ],
)
def test_a_run_that_cannot_be_meant_is_refused(tmp_path: Path, given: list[str], told: str) -> None:
    with port() as listener:
        hosts = inventory(tmp_path, listener.number)
        done = run(hosts, "deploy.py", "-y", *given)
        assert (done.returncode, listener.seen) == (1, []), done.stdout
    assert told in done.stdout


def test_hosts_meet_in_a_fleet_that_is_larger_than_pyinfras_pool(tmp_path: Path) -> None:
    (tmp_path / "meets.py").write_text(MEETING)
    count = 20 * (os.cpu_count() or 1) + 1
    done = run(fake_inventory(tmp_path, count), tmp_path / "meets.py", "-y")
    assert done.returncode == 0, done.stdout[-3000:]


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_the_run_with_its_own_exit_code(
    tmp_path: Path, number: signal.Signals, code: int
) -> None:
    with port(hold=True) as listener:
        hosts = inventory(tmp_path, listener.number)
        process = subprocess.Popen(
            words(hosts, "deploy.py", "-y"), cwd=REPO, text=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        assert listener.met.wait(30)
        process.send_signal(number)
        said, _ = process.communicate(timeout=30)
    assert process.returncode == code, said
    assert "stopped by the operator" in said


MET_BY_A_THREAD = """
import gevent.monkey
gevent.monkey.patch_all()
import os, signal, threading, time
from deploys import ending
signal.signal(signal.SIGINT, ending.interrupted)
threading.Thread(target=lambda: os.kill(os.getpid(), signal.SIGINT)).start()
time.sleep(20)
"""


def test_a_signal_that_a_thread_meets_ends_the_run_too() -> None:
    """Paramiko's threads are greenlets of the one thread that gets signals."""
    done = subprocess.run([sys.executable, "-c", MET_BY_A_THREAD], cwd=REPO, timeout=60)
    assert done.returncode == 130


def test_changes_without_a_terminal_need_a_yes(tmp_path: Path, deploy: Path) -> None:
    done = run(fake_inventory(tmp_path), deploy)
    assert done.returncode == 1
    assert "add -y to make these changes, or --dry to look only" in done.stdout
    assert "EOFError" not in done.stdout
    assert "Beginning operation run" not in done.stdout
    assert run(fake_inventory(tmp_path), deploy, "-y").returncode == 0


def test_a_plan_without_changes_asks_nothing(tmp_path: Path) -> None:
    idle = tmp_path / "idle.py"
    idle.write_text(IDLE)
    done = run(fake_inventory(tmp_path), idle)
    assert done.returncode == 0, done.stdout
    assert "Press enter" not in done.stdout


@pytest.mark.parametrize("option", ["--serial", "--no-wait"])
def test_options_that_break_waves_are_refused(tmp_path: Path, deploy: Path, option: str) -> None:
    done = run(fake_inventory(tmp_path), deploy, "-y", option)
    assert done.returncode == 1
    assert f"{option}: not allowed, waves need all hosts in one run" in done.stdout


def test_a_failed_step_stops_the_run_and_is_not_a_success(tmp_path: Path, deploy: Path) -> None:
    failing = {"fake_responses": {"true": {"success": False, "stderr": ["broken"]}}}
    done = run(fake_inventory(tmp_path, **failing), deploy, "-y")
    assert done.returncode == 1
    assert "stopped: No hosts remaining!" in done.stdout


def test_one_value_for_all_hosts_where_the_run_needs_one(tmp_path: Path) -> None:
    with port() as listener:
        hosts = inventory(tmp_path, listener.number)
        text = hosts.read_text().replace("{'ssh_hostname'", "{'wave_size': 2, 'ssh_hostname'", 1)
        hosts.write_text(text)
        done = run(hosts, "deploy.py", "-y")
        assert (done.returncode, listener.seen) == (1, []), done.stdout
    assert "wave_size: found '25%', 2 on different hosts; allowed: one value" in done.stdout


def test_a_fleet_that_is_all_out_of_reach_has_a_status_too(tmp_path: Path) -> None:
    with port() as listener:
        hosts = inventory(tmp_path, listener.number)
        done = run(hosts, "status.py", "--data", "json=true")
    assert done.returncode == 1
    assert done.stdout.count('"no connection"') == 2, done.stdout
    assert '"as_declared": false' in done.stdout
