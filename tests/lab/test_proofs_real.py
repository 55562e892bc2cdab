"""The table of proofs of the real vLLM, its CPU build, in three modes."""

from __future__ import annotations

import json
import time
from collections import Counter
from pathlib import Path
from shlex import quote
from typing import Any

import pytest

from lab.testing import REPO, Lab
from tests.lab.faulty import Fleet, Ran

HOSTS = 1
pytestmark = pytest.mark.slow
MODES = ("lab-standard", "lab-alternative", "lab-speculative")
KEY = "a-key-that-vllm-itself-asks-for"
COMPOSE = "docker compose -p bare -f /etc/vllm-fleet/current/compose.yaml -f /opt/bare/more.json"
PROBE = "python3 -B -c 'import auth_probe as p, json, sys; p.main(json.load(sys.stdin))'"
INVOKE = "curl -s -H 'Content-Type: application/json' http://127.0.0.1:8000/invocations"
FOREIGN = "curl -s -D - -o /dev/null -H 'Origin: http://other.example' http://127.0.0.1:8000"


def proofs(ran: Ran, host: str) -> dict[str, dict[str, Any]]:
    return {proof["name"]: proof for proof in ran.hosts[host]["proofs"]}


@pytest.fixture(scope="module")
def fleet(lab: Lab) -> Fleet:
    return Fleet(lab, image="vllm-cpu")


def test_three_modes_are_proved(fleet: Fleet, capsys: pytest.CaptureFixture[str]) -> None:
    host = fleet.names[0]
    for mode in MODES:
        deploy = "deploy.py" if mode == MODES[0] else "switch.py"
        ran = fleet.run(deploy, vllm_mode=mode)
        assert ran.code == 0, ran.output[-8000:]
        found = proofs(ran, host)
        with capsys.disabled():
            counts = Counter(proof["verdict"] for proof in found.values())
            print(f"\n{mode}: {deploy} {ran.seconds:.0f} s, {dict(counts)}")
            for proof in found.values():
                words = (proof[key] for key in ("verdict", "name", "claimed", "found", "line"))
                print("  " + " | ".join(word[:70] for word in words))
        assert {proof["verdict"] for proof in found.values()} == {"shown"}
    assert found["speculation"]["found"] == "draft_model:3"
    evidence = json.loads((REPO / _evidence(ran, host)).read_text())
    with capsys.disabled():
        print(json.dumps(evidence["server"], indent=1))
    assert evidence["server"]["version"].startswith("0.32")


def test_a_page_of_another_site_may_not_read_answers(fleet: Fleet) -> None:
    head = fleet.sh(fleet.names[0], f"{FOREIGN}/v1/models").lower()
    assert head.startswith("http/1.1 200") and "access-control-allow-origin" not in head


def test_every_route_of_it_asks_for_the_key_through_the_proxy(
    fleet: Fleet, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = str(tmp_path / "secrets")
    ran = fleet.run("switch.py", vllm_mode=MODES[-1], listen="0.0.0.0", secrets_dir=made)
    assert ran.code == 0, ran.output[-6000:]
    found = proofs(ran, fleet.names[0])["access"]
    with capsys.disabled():
        print(f"\nproxy: {found['verdict']}: {found['found']}; {found['line']}")
    assert found["verdict"] == "shown" and found["found"].endswith(" routes asked, 0 open")


def test_vllms_own_key_leaves_open_what_the_proxy_closes(
    fleet: Fleet, capsys: pytest.CaptureFixture[str]
) -> None:
    """The same server with a key and nothing in front of it."""
    lab, host = fleet.lab, fleet.names[0]
    for name in ("auth_probe", "front_door", "tcp_table"):
        lab.write(host, f"/opt/bare/{name}.py", (REPO / f"files/{name}.py").read_text())
    service = {"environment": {"VLLM_API_KEY": KEY}, "container_name": "bare"}
    lab.write(host, "/opt/bare/more.json", json.dumps({"services": {"vllm": service}}))
    lab.run(host, f"systemctl stop vllm && {COMPOSE} up -d", timeout=180)
    end = time.monotonic() + 300
    while lab.run(host, "curl -sf http://127.0.0.1:8000/health", check=False).returncode:
        assert time.monotonic() < end, fleet.sh(host, "docker logs --tail 20 bare 2>&1")
        time.sleep(2)
    door = {"address": "127.0.0.1", "port": 8000, "direct": 8000, "ca": None, "name": host}
    request = json.dumps({**door, "accepted": [KEY], "refused": []})
    found = json.loads(lab.text(host, f"cd /opt/bare && echo '{request}' | {PROBE}"))
    asked = {"model": "lab/tiny", "prompt": "The capital of France is", "max_tokens": 8}
    said = lab.text(host, f"{INVOKE} -d {quote(json.dumps(asked))}")
    lab.run(host, f"{COMPOSE} down; systemctl start vllm", timeout=300)
    with capsys.disabled():
        print(f"\nbare: {found['routes']} routes, {found['counts']}, gaps: {found['gaps']}")
        print("\n".join(found["open"]))
    assert json.loads(said)["usage"]["completion_tokens"] > 0  # a completion, and no key asked for
    without = [line for line in found["open"] if "without key" in line]
    for route in ("POST /invocations", "GET /metrics", "POST /tokenize", "GET /openapi.json"):
        assert any(line.startswith(f"{route} ") for line in without), route
    assert not any(" /v1/completions " in line for line in found["open"])


def _evidence(ran: Ran, host: str) -> str:
    line = ran.line("evidence: ").removeprefix("evidence: ")
    return f"{line.removesuffix('.json')}/{host}.json"
