"""The board in a real browser: the real Prometheus over HAProxy, node exporter and a stand-in."""

from __future__ import annotations

import json
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import host_metrics
import pytest

from fleet import haproxy, prometheus
from fleet.access import AccessSettings
from fleet.monitoring import MonitoringSettings
from fleet.prometheus import Target
from tests import browser
from tests.files.standin_process import Standin, free_port, standin
from tests.programs import needed

REPO = Path(__file__).parents[2]
PROGRAMS = {
    "prometheus": "prometheus",
    "prometheus-node-exporter": "prometheus-node-exporter",
    "haproxy": "haproxy",
}
FIRST, GOOD, BAD = (0x00, 0x72, 0xB2), (0xD8, 0xF0, 0xE3), (0xB3, 0x26, 0x1E)
SEEN_S = 60

pytestmark = pytest.mark.slow


@contextmanager
def process(*argv: str | Path) -> Iterator[None]:
    started = subprocess.Popen([str(w) for w in argv], stderr=subprocess.DEVNULL)
    try:
        yield
    finally:
        started.terminate()
        started.wait(timeout=30)


class Watched:
    """A host on loopback whose figures are read, and what reads them."""

    def __init__(self, folder: Path, server: Standin, life: ExitStack) -> None:
        self.server, self.folder, self.port = server, folder, free_port()
        self._life = life
        self.own = MonitoringSettings(
            metrics_listen="127.0.0.1", metrics_port=free_port(), monitoring_interval_s=1,
            alert_after_s=3,
        )  # fmt: skip

    def begin(self) -> None:
        (self.folder / "text").mkdir()
        self.figures(clock=2400.0, busy=0.9)
        self._life.enter_context(process(
            "prometheus-node-exporter", f"--web.listen-address=127.0.0.1:{prometheus.NODE_PORT}",
            f"--collector.textfile.directory={self.folder / 'text'}",
        ))  # fmt: skip
        self._life.enter_context(process("haproxy", "-f", self._door()))
        targets = [
            Target(job, "spark-01", "127.0.0.1", self.own.metrics_port, "none")
            for job in ("node", "vllm")
        ]  # fmt: skip
        board = (REPO / "files/board.html").read_text()
        for name, text in prometheus.files(self.own, targets, board, "").items():
            (self.folder / name).parent.mkdir(exist_ok=True)
            (self.folder / name).write_text(text)
        self._life.enter_context(process(
            "prometheus", f"--config.file={self.folder / prometheus.CONFIG}",
            f"--storage.tsdb.path={self.folder / 'data'}",
            f"--web.listen-address=127.0.0.1:{self.port}",
            f"--web.console.templates={self.folder / 'consoles'}",
        ))  # fmt: skip

    def _door(self) -> Path:
        access = AccessSettings(tls="off")
        path = self.folder / haproxy.CONFIG
        path.write_text(prometheus.door(access, self.own, ["127.0.0.1/32"], self.server.port))
        return path

    def figures(self, clock: float, busy: float) -> None:
        """What the fleet's own program writes, of a GPU that this machine has not."""
        made = [
            *(("serving", {}, 1.0), ("drift", {}, 0.0), ("gpu_answers", {}, 1.0)),
            ("release_info", {"release": "a" * 12, "mode": "standard", "model": "org/m"}, 1.0),
            ("last_run_info", {"outcome": "switched"}, 1.0),
            ("gpu_clock_hertz", {}, clock * 1e6),
            ("gpu_clock_max_hertz", {}, 3003e6),
            ("gpu_busy_ratio", {}, busy),
            ("driver_info", {"loaded": "580.159.03", "installed": "580.159.03"}, 1.0),
            ("memory_floor_bytes", {}, 1.0),
        ]
        host_metrics.write(self.folder / "text" / host_metrics.FILE, host_metrics.text(iter(made)))

    def ask(self, path: str, **query: str) -> Any:
        """Prometheus' answer; None where there is none."""
        url = f"http://127.0.0.1:{self.port}/{path}?{urllib.parse.urlencode(query)}"
        try:
            with urllib.request.urlopen(url, timeout=10) as reply:
                return json.load(reply)["data"]
        except (OSError, ValueError):
            return None

    def until(self, query: str, wanted: set[str], label: str) -> None:
        """Wait until the values of ``label`` in the query's answer are ``wanted``."""
        end, found = time.monotonic() + SEEN_S, set()
        while time.monotonic() < end:
            answer = self.ask("api/v1/query", query=query)
            found = {one["metric"].get(label, "") for one in (answer or {}).get("result", ())}
            if found == wanted:
                return
            time.sleep(0.5)
        raise AssertionError(f"{query}: {label}: found {found}, wanted {wanted}")


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    needed(PROGRAMS)
    folder = tmp_path_factory.mktemp("watched")
    with ExitStack() as life:
        found = Watched(folder, life.enter_context(standin(folder)), life)
        found.begin()
        yield found


def test_the_board_shows_the_host_and_its_charts(watched: Watched) -> None:
    watched.until("up == 1", {"node", "vllm"}, "job")
    watched.server.load(2, 2000)
    watched.until("rate(vllm:generation_tokens_total[1m]) > 0", {"spark-01"}, "host")
    time.sleep(15)  # lines want some length
    url = f"http://127.0.0.1:{watched.port}/consoles/fleet.html?minutes=1"
    with urllib.request.urlopen(url, timeout=10) as reply:
        page = reply.read().decode()
    for text in ("spark-01", "standard", "org/m", "2 of 2 targets", "none fires", "580.159.03"):
        assert text in page, page[-6000:]
    assert ">2400<" in page.replace("\n", "")
    picture = watched.folder / "board.png"
    argv = browser.words(browser.program(), url, picture)
    subprocess.run(argv, capture_output=True, text=True, timeout=120)
    seen = browser.colours(picture.read_bytes())
    assert seen.get(FIRST, 0) > 500 and seen.get(GOOD, 0) > 1000, sorted(seen.items())[:20]
    assert seen.get(BAD, 0) == 0


def test_a_stuck_clock_is_an_alert_and_ends_with_its_fault(watched: Watched) -> None:
    firing = 'ALERTS{alertstate="firing"}'
    watched.figures(clock=208.0, busy=0.9)
    watched.until(firing, {"GpuClockStuck"}, "alertname")
    watched.figures(clock=2400.0, busy=0.9)
    watched.until(firing, set(), "alertname")


def test_who_does_not_monitor_is_not_answered(watched: Watched) -> None:
    access, path = AccessSettings(tls="off"), watched.folder / "other.cfg"
    own = MonitoringSettings(metrics_listen="127.0.0.1", metrics_port=free_port())
    path.write_text(prometheus.door(access, own, ["192.0.2.1/32"], watched.server.port))
    places = {"/node": 200, "/vllm": 200, "/metrics": 404, "/v1/models": 404}
    for path_asked, status in places.items():
        assert asked(watched.own.metrics_port, path_asked) == status
    with process("haproxy", "-f", path):
        time.sleep(1.0)
        assert asked(own.metrics_port, "/node") == 0


def asked(port: int, path: str) -> int:
    """The status; 0 where the connection is refused or cut."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=10) as reply:
            return int(reply.status)
    except urllib.error.HTTPError as error:
        return error.code
    except OSError:
        return 0
