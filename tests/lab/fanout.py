"""Three hosts that serve, and pass a sharded model on to each other: what fan-out tests share."""

from __future__ import annotations

import json
import re
import time
from collections import Counter
from collections.abc import Callable
from subprocess import Popen

from lab.state import CONTROL
from lab.testing import Done, Lab

PORT = 8473
NAME = "models--lab--sharded"
FOLDER = f"/srv/models/hub/{NAME}"
SHARDS = 14
UNITS = "vllm-fleet-fan-out-*"
CLOSE = (
    "nft add table inet closed && "
    "nft add chain inet closed in '{ type filter hook input priority 0; }' && "
    f"nft add rule inet closed in tcp dport {PORT} drop"
)
WHOLE = f"""python3 - <<'END'
import glob, hashlib, json, pathlib
[path] = glob.glob("/var/lib/vllm-fleet/models/{NAME}/{"?" * 40}.json")
wanted = json.load(open(path))
top = pathlib.Path("{FOLDER}/snapshots", wanted["revision"])
for file in wanted["files"]:
    found = (top / file["path"]).read_bytes()
    assert hashlib.sha256(found).hexdigest() == file["sha256"], file
assert not glob.glob("{FOLDER}/blobs/*.fanout")
END"""


class Sharing:
    """The lab's hosts, with all but the model."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab

    def bare(self, *hosts: str) -> None:
        """Without the model and without jobs."""
        for host in hosts or self.lab.names:
            self.sh(host, f"systemctl stop '{UNITS}' 'vllm-fleet-download-*'")
            self.sh(host, f"rm -rf {FOLDER} /var/lib/vllm-fleet/models/{NAME}")
            self.lab.cap(host, 0)
        (self.lab.state.run / "hub.log").write_text("")

    def data(self) -> dict[str, str]:
        return {
            "vllm_image": self.lab.state.images["vllm-standin"],
            "hf_endpoint": f"https://{CONTROL}",
            "vllm_model": "lab/sharded",
            "fan_out": "true",
        }

    def run(self, *words: str) -> Done:
        done = self.lab.pyinfra("download.py", *words, data=self.data(), timeout=300)
        assert "Traceback" not in done.stdout, done.stdout[-8000:]
        return done

    def start(self) -> Popen[str]:
        return self.lab.start_pyinfra("download.py", data=self.data())

    def whole(self, host: str) -> bool:
        return self.lab.run(host, WHOLE, check=False).returncode == 0

    def fetched(self) -> Counter[str]:
        """How often the Hub was asked for each shard's content."""
        lines = (self.lab.state.run / "hub.log").read_text().splitlines()
        paths = [str(a.get("path")) for a in map(json.loads, lines) if a.get("method") == "GET"]
        return Counter(found[1] for p in paths if (found := re.search(r"/(model-\d+)", p)))

    def part(self, host: str) -> int:
        """Bytes in the model's folder of a host."""
        return int(self.sh(host, f"du -sb {FOLDER}/blobs | cut -f1") or 0)

    def sh(self, host: str, command: str) -> str:
        return self.lab.run(host, command, check=False).stdout.strip()

    def until(self, reached: Callable[[], object], bound_s: float = 90) -> None:
        end = time.monotonic() + bound_s
        while not reached():
            assert time.monotonic() < end, "not in time"
            time.sleep(0.3)
