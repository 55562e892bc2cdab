"""The gateway's own HAProxy in front of stand-ins on loopback: drained, and with one killed."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import gateway as runtime
import pytest

from fleet import gateway, haproxy
from fleet.access import AccessSettings
from fleet.endpoint import GatewaySettings
from fleet.gateway import Replica
from lab.load import Record, read, table
from tests.files.standin_process import NAME, Standin, free_port, standin

pytestmark = [
    pytest.mark.skipif(shutil.which("haproxy") is None, reason="HAProxy is not installed here"),
    pytest.mark.slow,
]
REPO = Path(__file__).parents[2]


@dataclass
class Endpoint:
    """A gateway on loopback and the servers behind it, by name."""

    folder: Path
    port: int
    servers: dict[str, Standin]
    lives: dict[str, ExitStack]

    @property
    def socket(self) -> str:
        return str(self.folder / "admin.sock")

    def switch(self, name: str) -> None:
        """As a host is switched: out, empty, another server on its port, in again, seen."""
        assert runtime.drain(self.socket, name, alone=False)
        end = time.monotonic() + 40
        while runtime.servers(self.socket)["model-0"][name]["sessions"]:
            assert time.monotonic() < end
            time.sleep(0.2)
        self.end(name)
        folder = self.folder / f"{name}-again"
        self.servers[name] = begun(folder, self.lives[name], self.servers[name].port)
        runtime.put(self.socket, name, "ready")
        self.until(lambda seen: seen[name] == "UP")

    def end(self, name: str) -> None:
        """SIGKILL."""
        self.lives[name].close()

    def until(self, reached: Callable[[dict[str, str]], bool], bound_s: float = 20.0) -> float:
        """Seconds until the servers' states are as wanted."""
        began = time.monotonic()
        while not reached(found := runtime.statuses(self.socket)):
            assert time.monotonic() < began + bound_s, found
            time.sleep(0.1)
        return time.monotonic() - began

    @contextmanager
    def load(self, rate: float = 10.0, tokens: int = 80) -> Iterator[Path]:
        """Requests meanwhile; one of ten has ``tokens``, 50 ms each."""
        out = self.folder / "load.jsonl"
        words = [sys.executable, "-m", "lab.load", str(out), f"http://127.0.0.1:{self.port}/v1"]
        words += ["--model", NAME, "--rate", str(rate), "--seconds", "200"]
        words += ["--slow-tokens", str(tokens)]
        process = subprocess.Popen(words, cwd=REPO)
        try:
            time.sleep(2)
            yield out
            time.sleep(2)
        finally:
            process.terminate()
            assert process.wait(60) == 0


def begun(folder: Path, life: ExitStack, port: int = 0) -> Standin:
    """A server that lives as long as ``life``; a token takes it 50 ms."""
    folder.mkdir()
    found = life.enter_context(standin(folder, port=port))
    found.knobs(itl_s=0.05)
    return found


@contextmanager
def haproxy_runs(folder: Path, text: str) -> Iterator[None]:
    (folder / haproxy.CONFIG).write_text(text)
    words = ["haproxy", "-db", "-f", str(folder / haproxy.CONFIG)]
    with (folder / "haproxy.log").open("wb") as log:
        process = subprocess.Popen(words, stdout=log, stderr=log)
    try:
        yield
    finally:
        process.kill()
        process.wait()


@pytest.fixture
def endpoint(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Endpoint]:
    """Three replicas in service; its parameter is ``gateway_sticky``."""
    with ExitStack() as stack:
        lives = {name: stack.enter_context(ExitStack()) for name in ("one", "two", "three")}
        servers = {name: begun(tmp_path / name, life) for name, life in lives.items()}
        found = Endpoint(tmp_path, free_port(), servers, lives)
        behind = [Replica(n, "127.0.0.1", s.port, NAME, "none") for n, s in servers.items()]
        access = AccessSettings(tls="off", api_auth="none")
        sticky = getattr(request, "param", "off")
        own = GatewaySettings(
            gateway_listen="127.0.0.1", gateway_port=found.port, gateway_sticky=sticky
        )
        text = gateway.config(access, own, behind, "", found.socket)
        if os.geteuid() != 0:
            text = text.replace("    user haproxy\n    group haproxy\n", "")
        stack.enter_context(haproxy_runs(tmp_path, text))
        found.until(lambda seen: list(seen.values()) == ["UP"] * 3)
        yield found


def failed(found: list[Record]) -> list[Record]:
    return [record for record in found if record.error]


def test_a_drained_replica_gets_nothing_and_no_request_is_lost(endpoint: Endpoint) -> None:
    with endpoint.load() as out:
        assert runtime.drain(endpoint.socket, "two", alone=False)
        drained = time.time()
        time.sleep(0.2)
        rows = runtime.servers(endpoint.socket)["model-0"]
        assert rows["two"]["sessions"] > 0, "nothing was under way: the test shows nothing"
        while runtime.servers(endpoint.socket)["model-0"]["two"]["sessions"]:
            assert time.time() < drained + 20
            time.sleep(0.2)
        empty = time.time()
        runtime.put(endpoint.socket, "two", "ready")
    found = read(out)
    assert not failed(found)
    assert {r.replica for r in found if r.at > empty + 0.5} == set(endpoint.servers)
    late = [r for r in found if r.replica == "two" and drained + 0.1 < r.at < empty]
    assert not late


def test_the_last_one_in_service_is_not_drained(endpoint: Endpoint) -> None:
    assert runtime.drain(endpoint.socket, "one", alone=False)
    assert runtime.drain(endpoint.socket, "two", alone=False)
    assert not runtime.drain(endpoint.socket, "three", alone=False)
    assert runtime.statuses(endpoint.socket)["three"] == "UP"
    assert runtime.drain(endpoint.socket, "three", alone=True)


def test_what_answers_no_completion_is_out_and_comes_back(endpoint: Endpoint) -> None:
    endpoint.servers["one"].knobs(error_500=True)
    out = endpoint.until(lambda seen: seen["one"].startswith("DOWN"))
    endpoint.servers["one"].knobs(itl_s=0.05)
    back = endpoint.until(lambda seen: seen["one"] == "UP")
    print(f"\nout after {out:.1f} s, back after {back:.1f} s")


def test_an_engine_that_dies_costs_only_the_answers_that_it_had_begun(endpoint: Endpoint) -> None:
    with endpoint.load() as out:
        begin = time.time() + 0.1  # a request may be there before the server has read its knobs
        endpoint.servers["two"].knobs(engine_dead=True, itl_s=0.05)
        gone = endpoint.until(lambda seen: seen["two"].startswith("DOWN"))
    found = read(out)
    spans = {"before": (0.0, begin), "during": (begin, begin + gone), "after": (begin + gone, 1e12)}
    print(f"\nout after {gone:.1f} s\n{table(found, spans)}")
    lost = failed(found)
    told = [(round(r.at - begin, 2), r) for r in lost]
    assert all(r.stream and r.replica == "two" and r.at < begin for r in lost), told


def test_a_request_that_makes_servers_fail_reaches_two_and_takes_none_out(
    endpoint: Endpoint,
) -> None:
    for server in endpoint.servers.values():
        server.knobs(chat_500=True)
    for _ in range(20):
        with pytest.raises(HTTPError) as refused:
            chat(endpoint.port)
        assert refused.value.code == 500
        assert set(runtime.statuses(endpoint.socket).values()) == {"UP"}
    logs = [(endpoint.folder / name / "log").read_text() for name in endpoint.servers]
    assert sum(log.count("/v1/chat/completions") for log in logs) == 2 * 20


def chat(port: int) -> None:
    """Raises HTTPError for what is no answer."""
    body = json.dumps({"model": NAME, "messages": [{"role": "user", "content": "1"}]})
    url = f"http://127.0.0.1:{port}/v1/chat/completions"
    ask = Request(url, body.encode(), {"Content-Type": "application/json"})
    with urlopen(ask, timeout=10):
        pass


def test_all_are_switched_in_turn_and_no_request_is_lost(endpoint: Endpoint) -> None:
    tokens = int(os.environ.get("GATEWAY_TOKENS", "80"))
    with endpoint.load(tokens=tokens) as out:
        begin = time.time()
        for name in endpoint.servers:
            endpoint.switch(name)
        end = time.time()
    found = read(out)
    spans = {"before": (0.0, begin), "during": (begin, end), "after": (end, 1e12)}
    print(f"\n{len(found)} sent, {end - begin:.0f} s\n{table(found, spans)}")
    assert not failed(found)


@pytest.mark.parametrize("endpoint", ["off", "session"], indirect=True)
def test_a_server_that_is_killed_costs_only_what_it_had(endpoint: Endpoint) -> None:
    with endpoint.load() as out:
        killed = time.time()
        endpoint.end("two")
        gone = endpoint.until(lambda seen: seen["two"].startswith("DOWN"))
    lost, found = failed(read(out)), read(out)
    print(f"\n{len(found)} sent, {len(lost)} failed, out after {gone:.1f} s")
    # what it had not begun to answer others have answered
    assert all(r.stream and r.at < killed + 0.2 and r.replica == "two" for r in lost), lost
