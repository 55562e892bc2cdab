"""The real vLLM, its CPU build: two hosts from bare, one switch, and what each wave took."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

from lab.testing import Lab
from tests.lab.faulty import ALTERNATIVE, LENGTHS, Fleet

HOSTS = 2
pytestmark = pytest.mark.slow
# vLLM's own stop, compose, the gate and its settling time. Quiet, it is under 5 s; the machine that
# tests this may be busy.
OVERHEAD_S = 20.0


def record(fleet: Fleet, host: str, path: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(fleet.sh(host, f"cat {path}"))
    return found


def figures(fleet: Fleet, host: str) -> dict[str, float]:
    """Seconds of one host's switch, as the host itself wrote them down."""
    done = record(fleet, host, "/var/lib/vllm-fleet/activation.json")
    load = record(fleet, host, "/run/vllm-fleet/serving.json")["ready_s"]
    whole = done["finished"] - done["started"]
    return {
        "wave": round(whole, 1),
        "load": load,
        "overhead": round(whole - load, 1),
        "no service": round(done["served"] - done["stopped"], 1),
    }


def test_a_switch_with_the_real_server(lab: Lab, capsys: pytest.CaptureFixture[str]) -> None:
    fleet = Fleet(lab, image="vllm-cpu")
    began = time.monotonic()
    bare = fleet.run("deploy.py", vllm_mode=fleet.mode)
    assert bare.code == 0, bare.output[-8000:]
    deployed = time.monotonic() - began
    serving = "/run/vllm-fleet/serving.json"
    before = {host: record(fleet, host, serving)["ready_s"] for host in fleet.names}

    ran = fleet.run(wave_size="1")
    assert ran.code == 0, ran.output[-8000:]
    assert {r["outcome"] for r in ran.hosts.values()} == {"switched"}
    assert all(
        r["proved"] and r["completion"] and r["wave"] is not None for r in ran.hosts.values()
    )
    for host in fleet.names:
        found = fleet.probe(host)
        assert (LENGTHS[found["length"]], len(found["containers"])) == (ALTERNATIVE, 1)
        answer = fleet.sh(host, "python3 -B /usr/local/lib/vllm-fleet/completion.py '{}'")
        assert json.loads(answer)["completion_tokens"] == 16
    seen = {host: figures(fleet, host) for host in fleet.names}
    with capsys.disabled():
        print(f"\nbare to proved: {deployed:.0f} s, of which model load {max(before.values())} s")
        print(f"switch of {len(seen)} waves: {ran.seconds:.1f} s")
        for host, each in seen.items():
            print(f"{host}: " + ", ".join(f"{name} {value} s" for name, value in each.items()))
    assert all(each["overhead"] < OVERHEAD_S for each in seen.values()), seen
