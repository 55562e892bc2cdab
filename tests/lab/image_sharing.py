"""Hosts that lack an image of a few random layers: what tests of its fan-out share."""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Callable
from subprocess import Popen

from lab.testing import Done, Lab

NAME = "registry.lab:5000/shared"
UNITS = "vllm-fleet-fan-out-*"
PUSH = """mkdir -p /root/noise && cd /root/noise && printf '%s' '{dockerfile}' > Dockerfile &&
for number in {numbers}; do head -c {size} /dev/urandom > $number; done &&
docker build --quiet --tag {name}:made . > /dev/null &&
docker push {name}:made | sed -n 's/.*digest: \\(sha256:[0-9a-f]*\\).*/\\1/p' &&
docker image rm {name}:made > /dev/null; rm -r /root/noise"""


class Images:
    """The lab's hosts, with all but the image."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.image = ""

    def push(self, *, layers: int, mib: float, base: str = "") -> None:
        """``base`` (the stand-in) with ``layers`` more of ``mib`` MiB noise, in the registry."""
        base = base or self.lab.state.images["vllm-standin"]
        numbers = [str(number) for number in range(layers)]
        script = PUSH.format(
            name=NAME,
            numbers=" ".join(numbers),
            size=int(mib * 2**20),
            dockerfile="\n".join([f"FROM {base}", *(f"COPY {n} /noise-{n}" for n in numbers)]),
        )
        digest = self.lab.run(self.lab.names[0], script, timeout=300).stdout.strip()
        assert re.fullmatch("sha256:[0-9a-f]{64}", digest), digest
        self.image = f"{NAME}@{digest}"

    def remove(self) -> None:
        """No host has it, nor a job that brings it."""
        for host in self.lab.names:
            self.sh(host, f"systemctl stop '{UNITS}'; docker image rm {self.image}")
            self.sh(host, "docker builder prune --all --force")
            assert not self.present(host)
        (self.lab.state.run / "registry.log").write_text("")

    def data(self) -> dict[str, str]:
        return {"vllm_image": self.image, "fan_out": "true"}

    def run(self) -> Done:
        done = self.lab.pyinfra("download.py", data=self.data(), timeout=300)
        assert "Traceback" not in done.stdout, done.stdout[-8000:]
        return done

    def start(self) -> Popen[str]:
        return self.lab.start_pyinfra("download.py", data=self.data())

    def present(self, host: str) -> bool:
        listed = "docker images --digests --format '{{.Repository}}@{{.Digest}}'"
        return self.image in self.sh(host, listed).split()

    def arrived(self, host: str) -> int:
        """Bytes of layers that came to a host so far."""
        return int(self.sh(host, "du -sb /var/lib/vllm-fleet/images | cut -f1") or 0)

    def blobs_fetched(self) -> Counter[str]:
        """How often the registry was asked for each blob's content."""
        text = (self.lab.state.run / "registry.log").read_text()
        return Counter(re.findall(r'"GET /v2/shared/blobs/(sha256:[0-9a-f]{64})', text))

    def jobs(self, done: Done) -> list[str]:
        """The lines of a run that tell of a pull."""
        return re.findall(r".*(?:fan-out|pull): .*", done.stdout)

    def sh(self, host: str, command: str) -> str:
        return self.lab.run(host, command, check=False).stdout.strip()

    def until(self, reached: Callable[[], object], bound_s: float = 90) -> None:
        end = time.monotonic() + bound_s
        while not reached():
            assert time.monotonic() < end, "not in time"
            time.sleep(0.3)
