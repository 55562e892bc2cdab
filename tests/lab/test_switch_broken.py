"""The controller, the connection or the host's power is lost in each phase of a switch."""

from __future__ import annotations

import time

import pytest

from tests.lab.fault_matrix import (
    BACK,
    FORWARD,
    TOGETHER,
    all_of,
    ends,
    everywhere,
    expect,
    in_phases,
    phases,
)
from tests.lab.faulty import Fleet

HOSTS = 5
pytestmark = pytest.mark.slow
HANG_UP = "systemd-run --quiet --collect --on-active=1 loginctl terminate-user fleet"


@pytest.mark.parametrize("wanted", [FORWARD, BACK], ids=["forward", "back"])
def test_a_killed_controller(fleet: Fleet, wanted: tuple[str, ...]) -> None:
    """Each host ends what it began; the next run brings the rest."""
    caught, target = in_phases(fleet, wanted), fleet.other
    process = phases(fleet, caught)
    process.kill()
    process.communicate()
    fleet.on(fleet.go_on, caught)
    assert fleet.settles(ends(fleet, caught)) == ends(fleet, caught)
    fleet.on(fleet.clean)
    ran = fleet.run(**TOGETHER)
    assert ran.code == 0, ran.output[-8000:]
    assert fleet.serves() == everywhere(fleet, target)
    for host, phase in caught.items():
        fleet.row(f"controller killed in {phase}; next run", ran, host, "exit code 0", target)


@pytest.mark.parametrize("wanted", [FORWARD, BACK], ids=["forward", "back"])
def test_a_connection_that_is_cut_and_mended(fleet: Fleet, wanted: tuple[str, ...]) -> None:
    """Two cables are pulled for eight seconds, other sessions are killed; the run follows on."""
    began, caught = time.monotonic(), in_phases(fleet, wanted)
    process = phases(fleet, caught)
    pulled, hung_up = list(caught)[:2], list(caught)[2:]
    fleet.on(lambda host: fleet.go_on(host, after_s=4), caught)
    fleet.on(lambda host: fleet.lab.run(host, HANG_UP), hung_up)
    fleet.on(fleet.lab.cut, pulled)
    time.sleep(8)
    fleet.on(fleet.lab.mend, pulled)
    ran = fleet.finish(process, began)
    served = ends(fleet, caught)
    outcomes = {
        host: "reverted" if mode == fleet.mode else "switched" for host, mode in served.items()
    }
    code = 3 if "reverted" in outcomes.values() else 0
    expect(fleet, ran, code, **{host.replace("-", "_"): each for host, each in outcomes.items()})
    assert fleet.serves() == served
    for host, phase in caught.items():
        told = f"[{host}] {outcomes[host]}"
        fleet.row(f"connection lost in {phase}", ran, host, told, served[host])


@pytest.mark.parametrize("wanted", [FORWARD, BACK], ids=["forward", "back"])
def test_a_host_that_loses_power(fleet: Fleet, wanted: tuple[str, ...]) -> None:
    """Booted again while the run waits, each serves what it served before."""
    began, caught = time.monotonic(), in_phases(fleet, wanted)
    process = phases(fleet, caught)
    fleet.on(fleet.lab.kill, caught)
    fleet.on(fleet.lab.start, caught)
    ran = fleet.finish(process, began)
    whole = {host.replace("-", "_"): "switched" for host in fleet.names if host not in caught}
    expect(fleet, ran, 3, **all_of(fleet, "reverted") | whole)
    left = {host: fleet.mode if host in caught else fleet.other for host in fleet.names}
    assert fleet.serves() == left
    for host, phase in caught.items():
        assert f"the host went down in phase {phase}" in ran.hosts[host]["reason"]
        assert ran.hosts[host]["downtime_s"] > 0, ran.hosts[host]
        told = f"went down in phase {phase}"
        fleet.row(f"power lost in {phase}, booted again", ran, host, told, fleet.mode)
