"""Four hosts, two of them with the real vLLM, its CPU build: from bare, one switch, and what each
wave took."""

from __future__ import annotations

import json
import time
from itertools import pairwise
from typing import Any

import pytest

from lab.testing import Lab
from tests.lab.faulty import ALTERNATIVE, LENGTHS, Fleet

HOSTS = 4
REAL = ("spark-01", "spark-02")  # see lab/inventory_mixed.py
pytestmark = pytest.mark.slow
# Besides the load: stop, compose, the gate and its settling time. 3 s on two quiet cores; on busy
# ones (load average 12 to 15) 6 and 9 s were seen.
OVERHEAD_S = 30.0


def record(fleet: Fleet, host: str, path: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(fleet.sh(host, f"cat {path}"))
    return found


def figures(fleet: Fleet, host: str) -> dict[str, float]:
    """Seconds of one host's switch, as the host itself wrote them down."""
    done = record(fleet, host, "/var/lib/vllm-fleet/activation.json")
    load = record(fleet, host, "/run/vllm-fleet/serving.json")["ready_s"]
    whole = done["finished"] - done["started"]
    return steps(fleet, host, done["id"]) | {
        "wave": round(whole, 1),
        "load": load,
        "overhead": round(whole - load, 1),
        "no service": round(done["served"] - done["stopped"], 1),
    }


def steps(fleet: Fleet, host: str, activation: str) -> dict[str, float]:
    """Phase → seconds until the next one, from the journal."""
    words = "journalctl -q -o short-unix --no-pager -u vllm-fleet-activate"
    lines = [line.split() for line in fleet.sh(host, words).splitlines()]
    told = [(float(line[0]), line[4]) for line in lines if line[3:4] == [f"{activation}:"]]
    return {phase: round(after - at, 1) for (at, phase), (after, _) in pairwise(told)}


def test_a_switch_with_the_real_server(lab: Lab, capsys: pytest.CaptureFixture[str]) -> None:
    fleet = Fleet(lab, image="", inventory="lab/inventory_mixed.py")
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
        image = lab.state.images["vllm-cpu" if host in REAL else "vllm-standin"]
        assert lab.text(host, "docker inspect -f '{{.Config.Image}}' vllm") == image
        found = fleet.probe(host)
        assert (LENGTHS[found["length"]], len(found["containers"])) == (ALTERNATIVE, 1)
        answer = fleet.sh(host, "python3 -B /usr/local/lib/vllm-fleet/completion.py '{}'")
        assert json.loads(answer)["completion_tokens"] == 16
    seen = {host: figures(fleet, host) for host in fleet.names}
    with capsys.disabled():
        print(f"\nbare to proved: {deployed:.0f} s, of which model load {max(before.values())} s")
        print(f"switch of {len(seen)} waves: {ran.seconds:.1f} s; a wave each:")
        for host, each in seen.items():
            what = "vLLM" if host in REAL else "stand-in"
            told = ", ".join(f"{name} {value} s" for name, value in each.items())
            print(f"{host} ({what}): {told}")
    assert all(each["overhead"] < OVERHEAD_S for each in seen.values()), seen
