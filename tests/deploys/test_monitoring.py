"""Which steps a machine of the group monitoring gets, on pyinfra's own pretend hosts."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.deploys.command_line import fake_inventory, run

pytestmark = pytest.mark.slow
STEPS = """\
from deploys import gateway, host_settings, metrics, monitoring

settings = host_settings()

gateway.run(settings=settings)
metrics.run(settings=settings)
monitoring.run(settings=settings)
monitoring.prove(settings=settings)
"""
FIGURES = "Figures | Give the figures to who monitors"


def plan(tmp_path: Path, group: str, **data: object) -> str:
    """The plan for two hosts and ``group``, a line of the inventory."""
    steps, inventory = tmp_path / "steps.py", fake_inventory(tmp_path, **data)
    steps.write_text(STEPS)
    inventory.write_text(inventory.read_text() + group)
    return run(inventory, steps, "--dry", "--data", f"secrets_dir={tmp_path / 'secrets'}").stdout


def changes(told: str) -> dict[str, str]:
    """Step → the hosts that it changes."""
    rows = [line.strip() for line in told.splitlines() if " | " in line]
    return {
        row.rpartition("  ")[0].split("   ")[0]: row.partition("   ")[2].strip() for row in rows
    }


def test_without_the_group_nothing_is_new(tmp_path: Path) -> None:
    told = changes(plan(tmp_path, ""))
    assert all(hosts.startswith("-") for hosts in told.values()), told
    assert "Figures | Give no figures" in told and FIGURES not in told


def test_every_host_gives_figures_and_one_reads_them(tmp_path: Path) -> None:
    watch = 'monitoring = [("@fake/watch", {"ssh_hostname": "192.0.2.9", "fake_delay": 0})]\n'
    told = changes(plan(tmp_path, watch))
    assert told[FIGURES].startswith("3 (")
    assert told["Monitoring | Install Prometheus"].startswith("1 (@fake/watch)")
    assert told["Monitoring | Write Prometheus' files"].startswith("1 (@fake/watch)")
    assert not (tmp_path / "secrets").exists(), "a plan makes no certificate"


@pytest.mark.parametrize("data", ["", ', "metrics_sources": ["192.0.2.0/24"]'])
def test_who_asks_has_to_be_known_by_an_address(tmp_path: Path, data: str) -> None:
    told = plan(tmp_path, f'monitoring = [("@fake/watch", {{"fake_delay": 0{data}}})]\n')
    assert "host @fake/watch: ssh_hostname: found @fake/watch; allowed: an IP address" in told
    assert "no host was contacted" in told


def test_a_host_of_the_fleet_may_watch_it(tmp_path: Path) -> None:
    told = plan(tmp_path, 'monitoring = ["@fake/01"]\n', ssh_hostname="192.0.2.9")
    assert changes(told)[FIGURES].startswith("2 ("), told
    assert changes(told)["Monitoring | Install Prometheus"].startswith("1 (@fake/01)")
