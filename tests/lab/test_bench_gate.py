"""A switch that lost speed against its baseline goes back; noise does not."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.testing import REPO, Lab
from tests.lab.faulty import ALTERNATIVE, Fleet

BASE_S = 0.05  # between two tokens
BASELINE = REPO / "baselines" / f"{ALTERNATIVE}--lab--tiny.json"


def results() -> set[Path]:
    return set((REPO / "evidence/benchmark").glob("*.json"))


def baseline_set(*words: str | Path) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, "-m", "fleet", "baseline", "set", *map(str, words)]
    return subprocess.run(argv, cwd=REPO, capture_output=True, text=True)


@pytest.fixture(scope="module")
def fleet(deployed: Lab) -> Iterator[Fleet]:
    found = Fleet(deployed)
    found.knobs("spark-01", everything=True, itl_s=BASE_S)
    yield found
    BASELINE.unlink(missing_ok=True)


def switched(fleet: Fleet, **data: str) -> int:
    ran = fleet.run(**data)
    if ran.code == 0:
        fleet.mode = fleet.other
    return ran.code


def measured(fleet: Fleet) -> Path:
    """The result of the gate's own measure of what serves now."""
    before = results()
    ran = fleet.run("benchmark.py", vllm_mode=fleet.mode, bench_repeats="0")
    assert ran.code == 0, ran.output[-6000:]
    (found,) = results() - before
    return found


def test_a_gate_without_a_baseline_is_refused(fleet: Fleet) -> None:
    ran = fleet.run(bench_gate="true")
    assert ran.code == 1
    assert f"found no baseline of mode {fleet.other} with lab/tiny" in ran.output
    assert "no host was contacted" in ran.output


def test_a_stuck_clock_is_told_and_makes_no_baseline(fleet: Fleet) -> None:
    found = measured(fleet)
    (line,) = json.loads(found.read_text())["problems"]
    assert line.startswith("GPU clock: found at most 208 MHz under load")
    done = baseline_set(found)
    assert (done.returncode, "--anyway" in done.stderr) == (1, True)


def test_thirty_percent_less_is_reverted_and_five_are_not(
    fleet: Fleet, capsys: pytest.CaptureFixture[str]
) -> None:
    fleet.lab.write("spark-01", "/etc/lab/gpu.conf", "clocks.sm=2400 MHz\n")
    assert switched(fleet) == 0
    done = baseline_set(measured(fleet))
    assert done.returncode == 0, done.stderr
    kept = json.loads(BASELINE.read_text())["hosts"]["spark-01"]
    assert switched(fleet) == 0

    fleet.knobs("spark-01", everything=True, itl_s=BASE_S / 0.95)
    assert switched(fleet, bench_gate="true") == 0
    assert switched(fleet) == 0

    fleet.knobs("spark-01", everything=True, itl_s=BASE_S / 0.7)
    slow = fleet.run(bench_gate="true")
    assert slow.code == 3, slow.output[-6000:]
    told = slow.line("less than the baseline of")
    assert fleet.serves() == {"spark-01": fleet.mode}
    with capsys.disabled():
        print(f"\nbaseline {kept['tokens_per_s']} tokens/s, noise {kept['noise_percent']} %")
        print(told)
