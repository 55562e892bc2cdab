"""The controller, the connection or the host's power is lost in each phase of a switch."""

from __future__ import annotations

import time

import pytest

from tests.lab.fault_matrix import (
    BACK,
    FORWARD,
    S1,
    S2,
    S3,
    S4,
    TOGETHER,
    all_of,
    everywhere,
    expect,
    phases,
)
from tests.lab.faulty import Fleet

HOSTS = 4
pytestmark = pytest.mark.slow
HANG_UP = "systemd-run --quiet --collect --on-active=1 loginctl terminate-user fleet"


@pytest.mark.parametrize("wanted", [FORWARD, BACK], ids=["forward", "back"])
def test_a_killed_controller(fleet: Fleet, wanted: tuple[str, ...]) -> None:
    """Each host ends what it began; the next run brings the rest."""
    process, target = phases(fleet, wanted), fleet.other
    process.kill()
    process.communicate()
    fleet.on(fleet.go_on)
    ends = {
        host: fleet.mode if phase.startswith("re") else target
        for host, phase in zip(fleet.names, wanted, strict=True)
    }
    assert fleet.settles(ends) == ends
    fleet.on(fleet.clean)
    ran = fleet.run(**TOGETHER)
    assert ran.code == 0, ran.output[-8000:]
    assert fleet.serves() == everywhere(fleet, target)
    for host, phase in zip(fleet.names, wanted, strict=True):
        fault = f"controller killed in {phase}; next run"
        fleet.row(fault, ran, host, "exit code 0", target)


@pytest.mark.parametrize("wanted", [FORWARD, BACK], ids=["forward", "back"])
def test_a_connection_that_is_cut_and_mended(fleet: Fleet, wanted: tuple[str, ...]) -> None:
    """Two cables are pulled for ten seconds, two sessions are killed; the run follows on."""
    began = time.monotonic()
    process, target = phases(fleet, wanted), fleet.other
    for host in fleet.names:
        fleet.go_on(host, after_s=4)
    for host in (S1, S2):
        fleet.lab.cut(host)
    for host in (S3, S4):
        fleet.lab.run(host, HANG_UP)
    time.sleep(10)
    fleet.on(fleet.lab.mend, (S1, S2))
    ran = fleet.finish(process, began)
    back = {host: phase.startswith("re") for host, phase in zip(fleet.names, wanted, strict=True)}
    outcomes = {
        host.replace("-", "_"): "reverted" if gone else "switched" for host, gone in back.items()
    }
    expect(fleet, ran, 3 if any(back.values()) else 0, **outcomes)
    ends = {host: fleet.mode if gone else target for host, gone in back.items()}
    assert fleet.serves() == ends
    for host, phase in zip(fleet.names, wanted, strict=True):
        fleet.row(
            f"connection lost in {phase}",
            ran,
            host,
            f"[{host}] {outcomes[host.replace('-', '_')]}",
            ends[host],
        )


@pytest.mark.parametrize("wanted", [FORWARD, BACK], ids=["forward", "back"])
def test_a_host_that_loses_power(fleet: Fleet, wanted: tuple[str, ...]) -> None:
    """Booted again while the run waits, each serves what it served before."""
    began = time.monotonic()
    process = phases(fleet, wanted)
    fleet.on(fleet.lab.kill)
    fleet.on(fleet.lab.start)
    ran = fleet.finish(process, began)
    expect(fleet, ran, 3, **all_of(fleet, "reverted"))
    assert fleet.serves() == everywhere(fleet, fleet.mode)
    for host, phase in zip(fleet.names, wanted, strict=True):
        assert f"the host went down in phase {phase}" in ran.hosts[host]["reason"]
        assert ran.hosts[host]["downtime_s"] > 0, ran.hosts[host]
        told = f"went down in phase {phase}"
        fleet.row(f"power lost in {phase}, booted again", ran, host, told, fleet.mode)
