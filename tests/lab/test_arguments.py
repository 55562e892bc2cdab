"""What only the image can refuse is refused before anything stops; the old model answers on."""

from __future__ import annotations

import json
import re
import time

import pytest

from fleet.flags import SWITCHES
from lab.testing import Done, Lab
from tests.lab.test_deploy import standin

HOST = "spark-01"
# All that our steps may write; Docker's own folders move with every container that runs.
OURS = (
    "find /etc /usr/local /srv /opt /var/lib/vllm-fleet /var/log/vllm-fleet "
    "/run/vllm-fleet -xdev -path /etc/mtab -prune -o -type f -printf '%p %m %s %T@\\n' "
    "-o -type l -printf '%p %l\\n' | sort | sha256sum; "
    "docker inspect -f '{{.Id}} {{.State.StartedAt}}' vllm; readlink /etc/vllm-fleet/current"
)
ASK = (
    "curl -s -m 10 -o /dev/null -w '%{http_code}' -H 'Content-Type: application/json' "
    "http://127.0.0.1:8000/v1/completions "
    '-d \'{"model": "lab/tiny", "prompt": "hello", "max_tokens": 4}\''
)
NEWER = "monokernel"  # a switch of vLLM 0.33, which the image, of 0.32, does not have
NOWHERE = "frobnicate-tensors"
VARIABLE = "VLLM_FROBNICATE_TENSORS"


def switched_while_asking(lab: Lab, **data: str) -> tuple[Done, list[str]]:
    """A switch, and the statuses of completions that were asked for all the while."""
    process = lab.start_pyinfra("switch.py", data={**standin(lab), **data})
    answers = []
    end = time.monotonic() + 300
    while process.poll() is None:
        assert time.monotonic() < end
        answers.append(lab.text(HOST, ASK))
    said, _ = process.communicate(timeout=60)
    return Done([], process.returncode, said), answers


@pytest.mark.parametrize(
    ("key", "name", "value", "told"),
    [
        ("vllm_args", NEWER, True, "unrecognized arguments"),
        ("vllm_args", NOWHERE, 3, "unrecognized arguments"),
        ("vllm_env", VARIABLE, "1", "unknown to this image's vLLM"),
    ],
)
def test_the_image_refuses_and_the_old_model_keeps_answering(
    deployed: Lab, key: str, name: str, value: object, told: str
) -> None:
    assert NEWER in SWITCHES  # else the settings would refuse it without asking an image
    before = deployed.text(HOST, OURS)
    done, answers = switched_while_asking(deployed, **{key: json.dumps({name: value})})
    assert done.returncode == 1, done.stdout[-4000:]
    lines = [row for row in done.stdout.splitlines() if f"[{HOST}]" in row and name in row]
    assert len(lines) == 1, done.stdout
    image = deployed.state.images["vllm-standin"]
    wanted = rf"--data: {key}\.{name}: refused by {re.escape(image)} \(.*{re.escape(told)}"
    assert re.search(wanted, lines[0]), lines[0]
    assert "Traceback" not in done.stdout
    assert len(answers) > 3 and set(answers) == {"200"}, answers
    assert deployed.text(HOST, OURS) == before


def test_without_the_mistake_the_same_switch_has_nothing_to_do(deployed: Lab) -> None:
    done = deployed.pyinfra("switch.py", data=standin(deployed))
    assert done.returncode == 0, done.stdout[-4000:]
    assert deployed.text(HOST, ASK) == "200"
