"""A model that nobody has locked is switched to, at the commit the Hub told for this run."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lab.content.models import MODELS
from lab.state import CONTROL
from lab.testing import Lab
from tests.lab.test_deploy import standin

HOST = "spark-01"
NEW = "lab/unlocked"
TINY = MODELS["lab/tiny"]()


@pytest.fixture(scope="module")
def serving(lab: Lab) -> Lab:
    """A host that serves; the Hub has one more model, with a file that no other model has."""
    folder = lab.state.run / "hub" / NEW.replace("/", "--")
    for path, content in {**TINY.files, "NOTE.md": b"not locked\n"}.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(content)
    done = lab.pyinfra("deploy.py", data=standin(lab))
    assert done.returncode == 0, done.stdout[-6000:]
    return lab


def data(lab: Lab, **more: str) -> dict[str, str]:
    # The control side resolves no names in the lab; the lab's certificate speaks for its address.
    hub = {"hf_endpoint": f"https://{CONTROL}", "vllm_model": NEW}
    return {**standin(lab), **hub, **more}


def test_it_is_refused_where_locks_are_required(serving: Lab) -> None:
    done = serving.pyinfra("switch.py", data=data(serving, require_locks="true"))
    assert done.returncode == 1
    assert f"--data: vllm_model: found '{NEW}', allowed: a model with a lock" in done.stdout
    assert f"fleet lock {NEW}" in done.stdout
    assert "1 mistake in the settings; no host was contacted" in done.stdout


def test_it_is_locked_for_the_run_and_served(serving: Lab) -> None:
    done = serving.pyinfra("switch.py", data=data(serving))
    assert done.returncode == 0, done.stdout[-6000:]
    told = [line for line in done.stdout.splitlines() if f"{NEW} has no lock: locked for" in line]
    assert len(told) == 1 and f"fleet lock {NEW} --revision " in told[0]
    release = json.loads(serving.text(HOST, "cat /etc/vllm-fleet/current/release.json"))
    assert release["model"] == NEW and told[0].endswith(release["revision"])
    answer = serving.text(
        HOST,
        "curl -sf -H 'Content-Type: application/json' http://127.0.0.1:8000/v1/completions "
        f'-d \'{{"model": "{NEW}", "prompt": "hello", "max_tokens": 4}}\'',
    )
    assert json.loads(answer)["usage"]["completion_tokens"] == 4
    assert not Path("models/lab--unlocked.yaml").exists()


def test_the_run_after_it_changes_nothing(serving: Lab) -> None:
    before = serving.text(HOST, "docker inspect -f '{{.Id}}' vllm")
    done = serving.pyinfra("switch.py", data=data(serving))
    assert done.returncode == 0, done.stdout[-4000:]
    assert serving.text(HOST, "docker inspect -f '{{.Id}}' vllm") == before
