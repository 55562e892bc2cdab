"""A fleet through its life: deployed, as declared, switched, rolled back, removed."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from lab.testing import Done, Lab
from tests.lab import operated

HOSTS = 2
Run = Callable[..., Done]


@pytest.fixture(scope="module")
def run(deployed: Lab) -> Run:
    """pyinfra with the stand-in image; the hosts are deployed and serve."""
    lab = deployed

    def with_image(deploy: str, *words: str, code: int, **data: str) -> Done:
        image = lab.state.images["vllm-standin"]
        return operated.ran(lab, deploy, *words, code=code, vllm_image=image, **data)

    return with_image


def drift(done: Done) -> dict[str, list[str]]:
    body: dict[str, Any] = json.loads(
        done.stdout[done.stdout.index("{\n") :].split("\n}\n")[0] + "\n}"
    )
    return {one["host"]: one["drift"] for one in body["hosts"]}


def test_from_deployed_to_removed(lab: Lab, run: Run) -> None:
    assert drift(run("status.py", code=0, json="true")) == {name: [] for name in lab.names}

    dry = run("switch.py", "--dry", code=0, vllm_mode="lab-alternative")
    assert f"{', '.join(lab.names)}:\n" in dry.stdout
    assert "    argument max-model-len: 512 → 1024\n" in dry.stdout
    assert drift(run("status.py", code=0, json="true")) == {name: [] for name in lab.names}

    switched = operated.results(run("switch.py", code=0, vllm_mode="lab-alternative"))
    assert [result["wave"] for result in switched.values()] == [0, 1]
    assert all("mode: lab-standard → lab-alternative" in r["changes"] for r in switched.values())

    back = operated.results(run("rollback.py", code=0, vllm_mode="lab-alternative"))
    assert {result["mode"] for result in back.values()} == {"lab-standard"}
    for lines in drift(run("status.py", code=1, json="true", vllm_mode="lab-alternative")).values():
        assert "mode: lab-standard → lab-alternative" in lines
    run("status.py", code=0)

    run("remove.py", code=0)
    again = operated.results(run("remove.py", code=0))
    assert {result["outcome"] for result in again.values()} == {"nothing of ours"}
    for name in lab.names:
        assert lab.text(name, "find /etc /usr/local /var/log -xdev -iname '*vllm*'") == ""
        assert lab.text(name, "apt-mark showhold; docker ps -aq") == ""
        assert lab.text(name, "ls -d /srv/models/hub/models--*") != "", "weights stay"
