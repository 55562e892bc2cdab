"""Fixtures for tests that need simulated hosts.

A test module says what it needs in module variables, all optional, and takes the fixture ``lab``:

    HOSTS = 2               # so many hosts (default 1)
    PLATFORM = "ubuntu"     # or "dgx"
    ARCH = "amd64"          # or "arm64"

    def test_something(lab: Lab) -> None:
        lab.run("spark-01", "systemctl is-active docker")

``lab`` begins bare for every module; ``bare_lab`` for every test; ``deployed`` serves the stand-in
from the start. See lab/testing.py for what a
``Lab`` can do. One lab is kept for the whole session; its name is $LAB_NAME, else ``pytest``.
Without root, or where the lab cannot run, these tests are skipped with the reason; with CI=true
they fail instead.
"""

import os
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

import pytest

from lab import keeping, machine
from lab.command import LabError
from lab.testing import Keeper, Lab
from tests.lab.fault_table import ROWS, Row, table
from tests.lab.faulty import Fleet

# Minutes each: the real server, emulated arm64, many hosts. Run by ``make test-long``.
LONG = {
    "test_arguments",
    "test_bench_gate",
    "test_benchmark",
    "test_build",
    "test_bundle",
    "test_eight_hosts",
    "test_fabric",
    "test_fanout_faults",
    "test_gateway",
    "test_gateway_firewall",
    "test_host_half_arm64",
    "test_image_fanout",
    "test_lab_arm64",
    "test_nfs_vm",
    "test_injection",
    "test_monitoring",
    "test_proxy",
    "test_real_gateway",
    "test_real_replica",
    "test_proofs",
    "test_proofs_real",
    "test_ray_replica",
    "test_real_vllm",
    "test_replicas",
    "test_secrets",
    "test_unlocked",
    "test_upgrade",
    "test_weights_faults",
    "test_weights_real",
}


SHELF = os.environ.get("LAB_NAME", "pytest")


@pytest.fixture(scope="session")
def keeper(worker_id: str) -> Iterator[Keeper]:
    """This process's lab; taken down at its end. Each worker of pytest-xdist has its own."""
    kept = Keeper(SHELF if worker_id == "master" else f"{SHELF}{worker_id}", SHELF)
    kept.close()
    yield kept
    kept.close()


def pytest_sessionstart(session: pytest.Session) -> None:
    """What an earlier session kept may be of another version."""
    if not hasattr(session.config, "workerinput"):
        keeping.forget(SHELF)


def pytest_sessionfinish(session: pytest.Session) -> None:
    output = getattr(session.config, "workeroutput", None)
    if output is None:
        keeping.forget(SHELF)
    else:
        output["rows"] = [asdict(row) for row in ROWS]


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any, error: object) -> None:
    """A worker has ended: its part of the table."""
    ROWS.extend(Row(**row) for row in getattr(node, "workeroutput", {}).get("rows", ()))


@pytest.fixture(scope="session")
def able() -> None:
    """Skip, or under CI=true fail, where the lab cannot run."""
    if "pyinfra_cli" in sys.modules:  # it makes this process's subprocesses and threads greenlets
        pytest.fail("tests/lab needs a process of its own: make test, or pytest tests/lab")
    try:
        machine.require()
    except LabError as error:
        if os.environ.get("CI") == "true":
            pytest.fail(f"CI skips nothing, and the lab cannot run here: {error}", pytrace=False)
        pytest.skip(f"no lab on this machine: {error}")


@pytest.fixture(scope="module")
def lab(request: pytest.FixtureRequest, able: None, keeper: Keeper) -> Lab:
    """Bare hosts as the module asks for them."""
    needs = request.module
    return keeper.bare(
        getattr(needs, "HOSTS", 1),
        getattr(needs, "PLATFORM", "ubuntu"),
        getattr(needs, "ARCH", "amd64"),
    )


@pytest.fixture(scope="module")
def deployed(lab: Lab) -> Lab:
    """Every host serves the stand-in as ``deploy.py`` leaves it; one is deployed once a session,
    and all are given what it holds."""
    lab.give("deployed", lambda: deploy_first(lab))
    settled(lab)
    return lab


def deploy_first(lab: Lab) -> None:
    """The first host serves the stand-in."""
    image = {"vllm_image": lab.state.images["vllm-standin"]}
    done = lab.pyinfra("deploy.py", "--limit", lab.names[0], data=image)
    assert done.returncode == 0, done.stdout[-6000:]


def settled(lab: Lab, bound_s: float = 120) -> None:
    """Wait until vllm.service answers on every host."""
    end = time.monotonic() + bound_s
    for host in lab.names:
        while lab.run(host, "systemctl is-active vllm", check=False).stdout.strip() != "active":
            assert time.monotonic() < end, lab.text(host, "journalctl -u vllm -n 30 -o cat")
            time.sleep(0.3)


@pytest.fixture(scope="module")
def converged(deployed: Lab) -> Fleet:
    """What the fault matrix works on."""
    return Fleet(deployed)


@pytest.fixture
def fleet(converged: Fleet) -> Fleet:
    """Healthy: all hosts serve one mode, no fault is set."""
    converged.healthy()
    return converged


@pytest.fixture
def bare_lab(lab: Lab) -> Lab:
    """The module's lab, all hosts bare again."""
    lab.reset()
    return lab


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Fault → outcome, of the cases that ran."""
    if ROWS:
        terminalreporter.write_line(table(ROWS))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Everything in this folder carries the marker ``lab``, and the modules of LONG ``long``."""
    for item in items:
        if "tests/lab/" in item.path.as_posix():
            item.add_marker(pytest.mark.lab)
            if item.path.stem in LONG:
                item.add_marker(pytest.mark.long)
