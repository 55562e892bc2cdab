"""A host that serves, and a Hub whose faults are at hand: what the tests of downloads share."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable
from subprocess import Popen
from typing import Any

from lab.state import CONTROL
from lab.testing import Done, Lab

HOST = "spark-01"
MODEL, NAME = "lab/sharded", "models--lab--sharded"
FOLDER = f"/srv/models/hub/{NAME}"
SHARDS = 14
SLOW = {"match": "resolve/.*safetensors", "do": "slow", "rate": 60_000.0, "method": "GET"}
# Every locked file by the host's own sha256, and no part of one beside them.
WHOLE = f"""python3 - <<'END'
import glob, hashlib, json, pathlib
[path] = glob.glob("/var/lib/vllm-fleet/models/{NAME}/*.json")
wanted = json.load(open(path))
top = pathlib.Path("{FOLDER}/snapshots", wanted["revision"])
for file in wanted["files"]:
    found = (top / file["path"]).read_bytes()
    assert hashlib.sha256(found).hexdigest() == file["sha256"], file
assert not glob.glob("{FOLDER}/blobs/*.incomplete")
END"""


class HubHost:
    """One host of the lab that has all but the model."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab

    def bare(self) -> None:
        """Without the model, jobs or faults."""
        self.faults()
        self.sh("systemctl stop 'vllm-fleet-download-*'; umount -l /srv/models/hub")
        self.sh(f"rm -rf {FOLDER} /var/lib/vllm-fleet/models/{NAME} /var/lib/vllm-fleet/verified*")
        self.log.write_text("")

    @property
    def log(self) -> Any:
        return self.lab.state.run / "hub.log"

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

    def run(self, *words: str, code: int = 0, **more: str) -> Done:
        done = self.lab.pyinfra("download.py", *words, data=self.data(**more), timeout=300)
        assert done.returncode == code, done.stdout[-8000:]
        return self.judged(done.stdout, done)

    def start(self, **more: str) -> Popen[str]:
        return self.lab.start_pyinfra("download.py", data=self.data(**more))

    def end(self, process: Popen[str], code: int = 0) -> str:
        output, _ = process.communicate(timeout=300)
        assert process.returncode == code, output[-8000:]
        return str(self.judged(output, output))

    def judged(self, output: str, result: Any) -> Any:
        assert "Traceback" not in output, output[-8000:]
        return result

    def refused(self, words: str, **more: str) -> str:
        """A run that fails with one line that has ``words``; what serves goes on."""
        done = self.run(code=1, **more)
        [line, *_] = [x for x in done.stdout.splitlines() if words in x] or [""]
        assert line, done.stdout[-8000:]
        assert self.sh("systemctl is-active vllm") == "active"
        return line

    def whole(self) -> bool:
        done = self.lab.run(HOST, WHOLE, check=False)
        print(done.stderr)
        return done.returncode == 0

    def fetched(self) -> list[str]:
        """The shards whose content the Hub was asked for, one entry for each request."""
        asked = [json.loads(line) for line in self.log.read_text().splitlines()]
        return [
            found[1]
            for each in asked
            if each.get("method") == "GET"
            and (found := re.search(r"resolve/.*/(model-\d+)", str(each.get("path"))))
        ]

    def sh(self, command: str) -> str:
        return self.lab.run(HOST, command, check=False).stdout.strip()

    def until(self, reached: Callable[[], object], bound_s: float = 60) -> None:
        end = time.monotonic() + bound_s
        while not reached():
            assert time.monotonic() < end, "not in time"
            time.sleep(0.2)

    def downloading(self) -> bool:
        """Whether parts of files lie in the cache."""
        return bool(self.sh(f"ls {FOLDER}/blobs | grep incomplete"))

    def traces(self) -> str:
        """What a download must not leave: containers, tokens, running units."""
        return self.sh(
            "docker ps -aq --filter label=vllm-fleet.job=download; ls /run/vllm-fleet/hub-tokens; "
            "systemctl list-units --plain --no-legend 'vllm-fleet-download-*' | grep -w running"
        )
