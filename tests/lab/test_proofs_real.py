"""The table of proofs of the real vLLM, its CPU build, in three modes."""

from __future__ import annotations

import json
from typing import Any

import pytest

from lab.testing import REPO, Lab
from tests.lab.faulty import Fleet, Ran

HOSTS = 1
pytestmark = pytest.mark.slow
MODES = ("lab-standard", "lab-alternative", "lab-speculative")


def proofs(ran: Ran, host: str) -> dict[str, dict[str, Any]]:
    return {proof["name"]: proof for proof in ran.hosts[host]["proofs"]}


def test_three_modes_are_proved(lab: Lab, capsys: pytest.CaptureFixture[str]) -> None:
    fleet, host = Fleet(lab, image="vllm-cpu"), lab.names[0]
    for mode in MODES:
        deploy = "deploy.py" if mode == MODES[0] else "switch.py"
        ran = fleet.run(deploy, vllm_mode=mode)
        assert ran.code == 0, ran.output[-8000:]
        found = proofs(ran, host)
        with capsys.disabled():
            print(f"\n{mode}: {deploy} {ran.seconds:.0f} s, {len(found)} proofs")
            for proof in found.values():
                words = (proof[key] for key in ("verdict", "name", "claimed", "found", "line"))
                print("  " + " | ".join(word[:70] for word in words))
        assert {proof["verdict"] for proof in found.values()} == {"shown"}
    assert found["speculation"]["found"] == "draft_model:3"
    evidence = json.loads((REPO / _evidence(ran, host)).read_text())
    with capsys.disabled():
        print(json.dumps(evidence["server"], indent=1))
    assert evidence["server"]["version"].startswith("0.32")


def _evidence(ran: Ran, host: str) -> str:
    line = ran.line("evidence: ").removeprefix("evidence: ")
    return f"{line.removesuffix('.json')}/{host}.json"
