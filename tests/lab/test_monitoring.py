"""A watched fleet: every target gives figures, the board shows them, alerts come and go."""

from __future__ import annotations

import json
import re
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

from lab.testing import Done, Lab
from tests import browser
from tests.lab.conftest import deploy_first, settled
from tests.lab.test_deploy import SESSIONS, grand_total, standin
from tests.lab.test_remove import OURS

HOSTS = 3  # two replicas; the last one is gateway and monitor
INVENTORY = "lab/inventory_monitoring.py"
UNITS = ("vllm-fleet-metrics", "vllm-fleet-node-exporter", "vllm-fleet-haproxy@metrics")
PROMETHEUS = "vllm-fleet-prometheus"
FIRST, SECOND = (0x00, 0x72, 0xB2), (0xD5, 0x5E, 0x00)  # lines of charts
GOOD, BAD = (0xD8, 0xF0, 0xE3), (0xB3, 0x26, 0x1E)  # cells of tables
FIRING = 'ALERTS{alertstate="firing"}'
SEEN_S = 180


class Watched:
    """The lab, and its Prometheus."""

    def __init__(self, lab: Lab, folder: Path) -> None:
        self.lab, self.folder = lab, folder

    @property
    def monitor(self) -> str:
        return self.lab.names[-1]

    def run(self, deploy: str, *words: str, inventory: str = INVENTORY) -> Done:
        own = {
            **{"listen": "0.0.0.0", "secrets_dir": str(self.folder / "secrets")},
            **{"monitoring_listen": "0.0.0.0", "monitoring_interval_s": "3"},
            "alert_after_s": "15",
        }
        data = {**standin(self.lab), **own}
        done = self.lab.pyinfra(deploy, *words, data=data, inventory=inventory)
        if done.returncode:
            pytest.fail(f"{deploy}: exit {done.returncode}\n{done.stdout[-9000:]}")
        return done

    def url(self, path: str) -> str:
        return f"http://{self.lab.state.host(self.monitor).address}:9090/{path}"

    def get(self, path: str) -> str:
        done = self.lab.control("curl", "-sS", "-m", "20", self.url(path))
        assert done.returncode == 0, done.stderr
        return done.stdout

    def ask(self, query: str) -> list[dict[str, Any]]:
        found = json.loads(self.get(f"api/v1/query?{urlencode({'query': query})}"))
        result: list[dict[str, Any]] = found["data"]["result"]
        return result

    def firing(self) -> set[tuple[str, str]]:
        """Alert and host."""
        found = [one["metric"] for one in self.ask(FIRING)]
        return {(one["alertname"], one["host"]) for one in found}

    def until(self, wanted: set[tuple[str, str]]) -> float:
        """Seconds until exactly these alerts fire."""
        begun = time.monotonic()
        while (found := self.firing()) != wanted:
            assert time.monotonic() < begun + SEEN_S, f"found {found}, wanted {wanted}"
            time.sleep(0.5)
        return time.monotonic() - begun


@pytest.fixture(scope="module")
def watched(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Watched:
    """Two replicas that serve the stand-in, and what stands in front of them and watches them."""
    lab.give("deployed", lambda: deploy_first(lab))
    settled(lab)
    lab.reset(lab.names[-1])
    found = Watched(lab, tmp_path_factory.mktemp("watched"))
    done = found.run("deploy.py")
    assert "6 of 6 targets give figures" in done.stdout, done.stdout[-4000:]
    return found


def test_every_target_gives_figures(watched: Watched) -> None:
    found = {(one["metric"]["host"], one["metric"]["job"]) for one in watched.ask("up == 1")}
    a, b, last = watched.lab.names
    assert found == {(a, "node"), (b, "node"), (last, "node"), (a, "vllm"), (b, "vllm"),
                     (last, "gateway")}  # fmt: skip
    assert watched.ask("up != 1") == []
    for query, hosts in {
        "vllm_fleet_release_info{mode='lab-standard',model='lab/tiny'}": {a, b},
        "vllm_fleet_last_run_info{outcome='switched'}": {a, b},
        "vllm_fleet_driver_mismatch == 0": {a, b},
        "vllm_fleet_gpu_clock_hertz == 208e6": {a, b},
        "vllm_fleet_gpu_busy_ratio == 0": {a, b},
        "vllm_fleet_drift == 0": {a, b},
        "vllm_fleet_cache_free_bytes > vllm_fleet_cache_reserve_bytes": {a, b},
        "vllm_fleet_certificate_end_seconds{of='metrics'} > time() + 86400 * 300": {a, b, last},
        "vllm:num_requests_running": {a, b},
        "haproxy_server_status{state='UP',proxy=~'model-.*'} == 1": {last},
        "node_memory_MemAvailable_bytes > 0": {a, b, last},
        "vllm_fleet_read_failed != 0": set(),
    }.items():
        assert {one["metric"]["host"] for one in watched.ask(query)} == hosts, query
    names = {one["metric"]["__name__"] for one in watched.ask("{__name__=~'vllm_fleet_gpu.*'}")}
    assert not [name for name in names if "memory" in name], names


def test_the_second_run_changes_nothing(watched: Watched) -> None:
    host = watched.lab.names[0]
    watched.lab.write(host, "/etc/ssh/sshd_config.d/verbose.conf", "LogLevel VERBOSE\n")
    watched.lab.run(host, "systemctl reload ssh")
    since = watched.lab.text(host, "sleep 1; date +%s")
    time.sleep(2)
    done = watched.run("deploy.py")
    # Our own question of how many is one more; an API beyond loopback is asked from outside, too.
    commands = int(watched.lab.text(host, SESSIONS.format(since=int(since) + 1))) - 1
    print(f"\nsecond run: {commands} remote commands at {host}")
    assert 0 < commands <= 4
    assert grand_total(done.stdout)[1] == 0, done.stdout[-4000:]
    watched.run("verify.py")
    watched.run("status.py")


def test_figures_are_for_the_monitor_alone(watched: Watched) -> None:
    """The control side is in the hosts' network, and is not in the group."""
    address = watched.lab.state.host(watched.lab.names[0]).address
    for port, path in ((9443, "node"), (9443, "vllm")):
        done = watched.lab.control("curl", "-sSk", "-m", "5", f"https://{address}:{port}/{path}")
        assert done.returncode in (7, 35, 52, 56), (done.returncode, done.stdout[:200])
    for port in (9100, 9110, 8000):
        done = watched.lab.control("curl", "-sS", "-m", "5", f"http://{address}:{port}/metrics")
        assert done.returncode == 7, (port, done.stdout[:200])
    address = watched.lab.state.host(watched.monitor).address
    done = watched.lab.control("curl", "-sSk", "-m", "5", f"https://{address}:443/metrics")
    assert "no such path here" in done.stdout


def test_the_board_shows_the_fleet(watched: Watched) -> None:
    watched.until(set())
    page = watched.get("consoles/fleet.html")
    assert "error executing template" not in page
    for text in (
        *watched.lab.names,
        "lab-standard",
        "6 of 6 targets",
        "2 of 2 hosts",
        "none fires",
    ):
        assert text in page, page[-6000:]
    assert len(re.findall(">in service<", page)) == 2
    picture = watched.folder / "board.png"
    url = watched.url("consoles/fleet.html?minutes=1")
    done = watched.lab.control(*browser.words(browser.program(), url, picture, 1500))
    assert picture.exists(), done.stderr[-2000:]
    seen = browser.colours(picture.read_bytes())
    print(f"\nboard: {picture}")
    assert all(seen.get(colour, 0) > 150 for colour in (FIRST, SECOND, GOOD)), seen


def test_a_stuck_clock_raises_its_alert_and_ends_it(watched: Watched) -> None:
    host = watched.lab.names[0]
    text = "clocks.sm=208 MHz\nutilization.gpu=96 %\n"
    watched.lab.write(host, "/etc/lab/gpu.conf", text)
    fired = watched.until({("GpuClockStuck", host)})
    picture = watched.folder / "alert.png"
    url = watched.url("consoles/fleet.html?minutes=5")
    watched.lab.control(*browser.words(browser.program(), url, picture, 1500))
    assert browser.colours(picture.read_bytes()).get(BAD, 0) > 1500
    watched.lab.write(host, "/etc/lab/gpu.conf", "")
    ended = watched.until(set())
    print(f"\nstuck clock: fired after {fired:.1f} s, ended after {ended:.1f} s, {picture}")


def test_a_server_that_is_gone_raises_its_alerts_and_ends_them(watched: Watched) -> None:
    host = watched.lab.names[1]
    watched.lab.run(host, "systemctl stop vllm")
    wanted = {("TargetDown", host), ("NotServing", host), ("ReplicaOut", watched.monitor)}
    fired = watched.until(wanted)
    watched.lab.run(host, "systemctl start vllm")
    ended = watched.until(set())
    print(f"\nno server: fired after {fired:.1f} s, ended after {ended:.1f} s")


def test_a_host_gives_no_figures_when_nobody_monitors(watched: Watched) -> None:
    host = watched.lab.names[0]
    watched.run("deploy.py", "--limit", host, inventory="lab/inventory.py")
    for unit in UNITS:
        assert watched.lab.run(host, f"systemctl is-active {unit}", check=False).returncode != 0
    assert not watched.lab.text(host, "ls /etc/systemd/system | grep -E 'metrics|exporter' || true")


def test_remove_takes_it_away(watched: Watched) -> None:
    watched.run("remove.py")
    for host in watched.lab.names:
        assert watched.lab.text(host, OURS) == ""
        done = watched.lab.run(host, "pgrep -a 'prometheus|haproxy'", check=False)
        assert done.returncode == 1, done.stdout
