"""Models come from a Hub that fails in every way: they end whole and checked, or refused."""

from __future__ import annotations

import json
from typing import Any

import pytest

from lab.state import CONTROL
from lab.testing import Done, Lab
from tests.lab.test_deploy import grand_total

HOST = "spark-01"
MODEL = "lab/sharded"
FOLDER = "/srv/models/hub/models--lab--sharded"


class Weights:
    """One host that has all but the model, and a Hub whose faults are at hand."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab

    def data(self, **more: str) -> dict[str, str]:
        # The control side resolves no names in the lab; its certificate speaks for the address.
        return {
            "vllm_image": self.lab.state.images["vllm-standin"],
            "hf_endpoint": f"https://{CONTROL}",
            "vllm_model": MODEL,
            **more,
        }

    def faults(self, *rules: dict[str, Any]) -> None:
        (self.lab.state.run / "hub-faults.json").write_text(json.dumps(rules))

    def run(self, *words: str, **more: str) -> Done:
        done = self.lab.pyinfra("download.py", *words, data=self.data(**more), timeout=300)
        assert "Traceback" not in done.stdout, done.stdout[-6000:]
        return done

    def whole(self) -> bool:
        """Every file there, by the host's own sha256sum against the lock, and nothing beside it."""
        return self.lab.run(HOST, WHOLE, check=False).returncode == 0

    def sh(self, command: str) -> str:
        return self.lab.run(HOST, command, check=False).stdout.strip()


WHOLE = f"""python3 - <<'END'
import glob, hashlib, json, pathlib, sys
[path] = glob.glob("/var/lib/vllm-fleet/models/models--lab--sharded/*.json")
wanted = json.load(open(path))
top = pathlib.Path("{FOLDER}/snapshots", wanted["revision"])
for file in wanted["files"]:
    found = (top / file["path"]).read_bytes()
    assert hashlib.sha256(found).hexdigest() == file["sha256"], file
assert not glob.glob("{FOLDER}/blobs/*.incomplete")
END"""


@pytest.fixture(scope="module")
def served(deployed: Lab) -> Weights:
    return Weights(deployed)


@pytest.fixture
def weights(served: Weights) -> Weights:
    """Without the model and without faults."""
    served.faults()
    served.sh(f"rm -rf {FOLDER} /var/lib/vllm-fleet/models/models--lab--sharded")
    return served


def test_a_model_is_downloaded_beside_one_that_serves(weights: Weights) -> None:
    done = weights.run()
    assert done.returncode == 0, done.stdout[-6000:]
    assert weights.whole()
    assert weights.sh("systemctl is-active vllm") == "active"
    again = weights.run()
    assert again.returncode == 0 and grand_total(again.stdout)[1] == 0, again.stdout[-3000:]
