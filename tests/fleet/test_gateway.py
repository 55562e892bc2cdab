"""The gateway's configuration, as HAProxy itself reads it, and which waves lose no request."""

from __future__ import annotations

import itertools
import shutil
import subprocess
from pathlib import Path
from typing import Literal

import pytest

from fleet import gateway, haproxy
from fleet.access import AccessSettings
from fleet.endpoint import GatewaySettings
from fleet.gateway import Replica, ended_name, outage

A, B, C = (Replica(f"spark-0{n}", f"192.0.2.{n}", 8443, "m/a", "none") for n in (1, 2, 3))
OTHER = Replica("spark-04", "2001:db8::4", 8443, "m/b", "none")
MODEL = {"a1": "m/a", "a2": "m/a", "a3": "m/a", "b1": "m/b"}


@pytest.mark.skipif(shutil.which("haproxy") is None, reason="HAProxy is not installed here")
@pytest.mark.parametrize(
    ("sticky", "replicas", "key"),
    list(itertools.product(("off", "session"), ((A,), (A, B, C, OTHER)), ("", "k" * 43))),
)
def test_haproxy_takes_it_without_a_warning(
    sticky: Literal["off", "session"], replicas: tuple[Replica, ...], key: str, tmp_path: Path
) -> None:
    access = AccessSettings(tls="off", metrics_sources=("192.0.2.0/24",))
    own = GatewaySettings(gateway_sticky=sticky)
    text = gateway.config(access, own, replicas, key, str(tmp_path / "admin.sock"))
    (tmp_path / haproxy.CONFIG).write_text(text)
    (tmp_path / haproxy.KEYS).write_text(haproxy.key_hashes(["k" * 43]))
    words = ["haproxy", "-c", "-dW", "-f", str(tmp_path / haproxy.CONFIG)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=30)
    assert done.returncode == 0, done.stderr


def test_replicas_stand_behind_their_models() -> None:
    access = AccessSettings()
    text = gateway.config(access, GatewaySettings(), (A, B, OTHER), "", "/run/s")
    first, second = text.split("\nbackend model-")[1:]
    assert "server spark-01 192.0.2.1:8443" in first and "spark-04" not in first
    assert "server spark-04 [2001:db8::4]:8443" in second
    assert "use_backend model-1 if { var(txn.model) -m str m/b }" in text


def test_only_addresses_are_free_of_limits() -> None:
    known = ["192.0.2.1", "2001:db8::4", "spark-01", "2001:db8::5%x\nlog stdout"]
    assert gateway.unlimited(known) == ("192.0.2.1/32", "2001:db8::4/128")


@pytest.mark.parametrize(
    ("waves", "serving", "lost"),
    [
        ([["a1"], ["a2", "a3"]], {"a1", "a2", "a3"}, ""),
        ([["a1", "a2", "a3"]], {"a1", "a2", "a3"}, "m/a"),
        ([["a1"], ["b1"]], set(MODEL), "m/b"),
        ([["a1"], ["b1"]], {"a1", "a2"}, ""),  # b1 serves nobody yet
        ([["a1"], ["a2"]], {"a2"}, ""),  # a1 serves when a2's turn comes
        ([["a1"]], {"a1"}, "m/a"),
        ([["a1", "a2", "a3", "b1"]], set(), ""),  # the first deploy
    ],
)
def test_waves_that_leave_a_model_without_a_replica_are_told(
    waves: list[list[str]], serving: set[str], lost: str
) -> None:
    line = outage(waves, {host: MODEL[host] for host in serving}, MODEL)
    assert bool(line) == bool(lost) and (f"serves {lost};" in line or not lost)


@pytest.mark.parametrize(
    ("wanted", "lost"),
    [
        ({"a1": "new", "a2": "new", "a3": "m/a"}, ""),  # a3 keeps the name
        ({"a1": "new", "a2": "new", "a3": "new"}, "m/a"),  # by the last wave nobody has it
        ({"a1": "m/a", "a2": "m/a", "a3": "new"}, ""),
    ],
)
def test_a_name_that_the_waves_end_is_told(wanted: dict[str, str], lost: str) -> None:
    before = dict.fromkeys(wanted, "m/a")
    changing = [[host] for host, name in wanted.items() if name != "m/a"]
    line = outage(changing, before, wanted)
    assert bool(line) == bool(lost) and (f"serves {lost};" in line or not lost)


def test_clients_keep_the_name_that_they_use() -> None:
    assert ended_name("m/a", MODEL) is None
    found = ended_name("m/old", MODEL)
    assert found and found.level == "blocked"
    assert found.line() == (
        "served name: found clients of the gateway use m/old, wanted one of m/a, m/b; "
        "remedy: keep it with served_name = 'm/old', or --data allow_downtime=true"
    )
