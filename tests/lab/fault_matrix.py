"""What the modules of the fault matrix share: a fleet of stand-in hosts and what to expect.

Each case begins with all hosts serving one mode and asks for the other. Where one run can hold
several faults it does: the group of all hosts is the canary, so all switch in one wave, and with
``on_failure=stop`` none goes back for another's fault.
"""

from __future__ import annotations

from subprocess import Popen

from tests.lab.faulty import Fleet, Ran

S1, S2, S3, S4 = (f"spark-0{i}" for i in range(1, 5))
TOGETHER = {"canary": "spark", "on_failure": "stop"}  # all hosts in one wave, each for itself
FORWARD = ("draining", "stopping", "flipped", "starting", "gating")
BACK = ("locked", "reverting", "restarting", "regating")


def expect(fleet: Fleet, ran: Ran, code: int, **outcomes: str) -> None:
    """Exit code of the process and in the evidence, and each host's outcome there."""
    assert ran.code == code, ran.output[-8000:]
    assert ran.evidence["exit_code"] == code
    found = {host.replace("-", "_"): record["outcome"] for host, record in ran.hosts.items()}
    assert found == outcomes, ran.output[-8000:]
    for record in ran.hosts.values():
        if record["outcome"] != "not reached":  # only who failed says why
            assert (record["outcome"] in ("switched", "serving")) == (not record["reason"]), record
        if record["outcome"] == "switched" and code == 0:
            assert record["proved"] and record["completion"], record


def all_of(fleet: Fleet, outcome: str) -> dict[str, str]:
    return {name.replace("-", "_"): outcome for name in fleet.names}


def until(process: Popen[str], words: str) -> None:
    """Read what a run says until it says ``words``."""
    assert process.stdout is not None
    for line in process.stdout:
        if words in line:
            return
    raise AssertionError(f"ended before {words!r}")


def everywhere(fleet: Fleet, mode: str) -> dict[str, str]:
    return dict.fromkeys(fleet.names, mode)


def in_phases(fleet: Fleet, wanted: tuple[str, ...]) -> dict[str, str]:
    """Host → the phase that it is caught in; hosts beyond them just switch."""
    return dict(zip(fleet.names, wanted, strict=False))


def phases(fleet: Fleet, caught: dict[str, str]) -> Popen[str]:
    """A run whose hosts stand still, each in its phase."""
    fleet.on(lambda host: fleet.catch(host, caught[host]), caught)
    for host in (host for host, phase in caught.items() if phase.startswith("re")):
        fleet.knobs(host, crash_at_start=3)
    process = fleet.start(**TOGETHER)
    fleet.caught(caught, process)
    return process


def ends(fleet: Fleet, caught: dict[str, str]) -> dict[str, str]:
    """What each host serves in the end: only who was going back already goes back."""
    modes = {True: fleet.mode, False: fleet.other}
    return {host: modes[caught.get(host, "").startswith("re")] for host in fleet.names}
