"""Eight stand-in hosts, a canary and waves of 25 %: what a switch takes and what a user notices."""

from __future__ import annotations

import pytest

from lab.testing import Lab
from tests.lab.faulty import Fleet

HOSTS = 8
pytestmark = pytest.mark.slow


def test_a_switch_in_waves_of_a_quarter(deployed: Lab, capsys: pytest.CaptureFixture[str]) -> None:
    fleet = Fleet(deployed)
    again = fleet.run("deploy.py", vllm_mode=fleet.mode)
    assert again.code == 0, again.output[-8000:]
    assert {record["outcome"] for record in again.hosts.values()} == {"serving"}
    ran = fleet.run(wave_size="25%")
    assert ran.code == 0, ran.output[-8000:]
    assert fleet.serves() == dict.fromkeys(fleet.names, fleet.other)
    waves = [record["wave"] for record in ran.hosts.values()]
    assert waves == [0, 1, 1, 2, 2, 3, 3, 4]
    down = {host: record["downtime_s"] for host, record in ran.hosts.items()}
    with capsys.disabled():
        print(f"\nnothing to do: {again.seconds:.1f} s; switch in 5 waves: {ran.seconds:.1f} s")
        print("no service: " + ", ".join(f"{host} {value} s" for host, value in down.items()))
    fleet.row("8 hosts, waves of 25 %", ran, "spark-08", "8 switched", fleet.other)
    assert all(0 < value < ran.seconds / 2 for value in down.values()), down
