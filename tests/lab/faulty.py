"""A converged fleet of stand-in servers: faults put into it, runs against it, what serves after."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from subprocess import Popen, TimeoutExpired
from typing import Any

from lab import hosts
from lab.testing import REPO, Lab
from tests.lab.fault_table import ROWS, Row
from tests.lab.staged import CATCHER, PLACE

STANDARD, ALTERNATIVE = "lab-standard", "lab-alternative"
LENGTHS = {512: STANDARD, 1024: ALTERNATIVE}  # what each mode tells a client
CONTROL = "/var/lib/vllm-fleet/cache/vllm/standin.json"
ACTIVATE = "vllm-fleet-activate"
RUN_S = 420
# What a client and an operator find on a host, as one JSON line.
PROBE = """
import glob, json, os, subprocess, sys, urllib.request
def said(*argv):
    return subprocess.run(argv, capture_output=True, text=True).stdout.strip()
answer = json.loads(said("python3", "-B", "/usr/local/lib/vllm-fleet/completion.py",
                         '{"timeout_s": 10}') or '{"ok": false, "detail": "no programs"}')
length = 0
if answer["ok"]:
    with urllib.request.urlopen("http://127.0.0.1:8000/v1/models", timeout=10) as reply:
        length = json.load(reply)["data"][0]["max_model_len"]
label = "{{.Label \\"vllm-fleet.release\\"}}"
print(json.dumps({
    "length": length,
    "detail": answer["detail"],
    "containers": said("docker", "ps", "-a", "--format", label).split(),
    "current": os.path.basename(os.path.realpath("/etc/vllm-fleet/current")),
    "unit": said("systemctl", "show", "--value", "-p", "ActiveState", "vllm"),
    "lock": os.path.exists("/run/vllm-fleet.lock"),
}))
"""
# A small full file system over a folder, which it shows as it was.
FILL = (
    "mkdir -p /tmp/full && mount -t tmpfs -o size=256k none /tmp/full && cp -a {0}/. /tmp/full/ && "
    "mount --bind /tmp/full {0} && (dd if=/dev/zero of={0}/fill bs=1k 2>/dev/null || true)"
)
EMPTY = "umount -l {0}; umount -l /tmp/full; true"


@dataclass(frozen=True)
class Ran:
    """A finished run of pyinfra."""

    code: int
    output: str
    seconds: float

    @property
    def evidence(self) -> dict[str, Any]:
        found = re.findall(r"^evidence: (\S+)$", self.output, re.MULTILINE)
        assert found, self.output[-6000:]
        body: dict[str, Any] = json.loads((REPO / found[-1]).read_text())
        return body

    @property
    def hosts(self) -> dict[str, dict[str, Any]]:
        """Each host's record in the evidence file."""
        return {record["host"]: record for record in self.evidence["hosts"]}

    def line(self, words: str) -> str:
        """The one line that tells ``words``."""
        found = [line.strip() for line in self.output.splitlines() if words in line]
        assert found, f"nobody told {words!r}:\n{self.output[-6000:]}"
        return found[0]


@dataclass
class Fleet:
    """The hosts of a converged lab."""

    lab: Lab
    mode: str = STANDARD
    image: str = "vllm-standin"  # of all hosts; "": what the inventory says
    inventory: str = "lab/inventory.py"
    bound_s: float = RUN_S  # for one run; it is killed after that

    @property
    def names(self) -> list[str]:
        return self.lab.names

    @property
    def other(self) -> str:
        """The mode to switch to."""
        return ALTERNATIVE if self.mode == STANDARD else STANDARD

    def data(self, **more: str) -> dict[str, str]:
        image = {"vllm_image": self.lab.state.images[self.image]} if self.image else {}
        return {**image, "vllm_mode": self.other, **more}

    def run(self, deploy: str = "switch.py", *words: str, **data: str) -> Ran:
        """To the other mode, unless ``data`` says otherwise."""
        began = time.monotonic()
        done = self.lab.pyinfra(
            deploy, *words, data=self.data(**data), inventory=self.inventory, timeout=self.bound_s
        )
        return self._ran(done.returncode, done.stdout, time.monotonic() - began)

    def start(self, deploy: str = "switch.py", **data: str) -> Popen[str]:
        return self.lab.start_pyinfra(deploy, data=self.data(**data), inventory=self.inventory)

    def finish(self, process: Popen[str], began: float) -> Ran:
        """Wait for a run that was started; it is killed after ``bound_s`` seconds."""
        try:
            output, _ = process.communicate(timeout=self.bound_s)
        except TimeoutExpired:
            process.kill()
            output, _ = process.communicate()
            raise AssertionError(f"no end after {self.bound_s:.0f} s:\n{output[-6000:]}") from None
        return self._ran(process.returncode, output, time.monotonic() - began)

    def _ran(self, code: int, output: str, seconds: float) -> Ran:
        assert "Traceback" not in output, output[-8000:]
        return Ran(code, output, seconds)

    def on(self, action: Callable[[str], Any], names: Iterable[str] = ()) -> dict[str, Any]:
        """Do it on several hosts side by side."""
        chosen = list(names) or self.names
        with ThreadPoolExecutor(len(chosen)) as pool:
            return dict(zip(chosen, pool.map(action, chosen), strict=True))

    def sh(self, host: str, command: str) -> str:
        return self.lab.run(host, command, check=False).stdout.strip()

    def probe(self, host: str) -> dict[str, Any]:
        words = hosts.ssh(self.lab.state, self.lab.state.host(host))
        done = self.lab.control(*words, "sudo -n python3 -", stdin=PROBE)
        found: dict[str, Any] = json.loads(done.stdout or '{"detail": "no login", "length": 0}')
        return found

    def serves(self) -> dict[str, str]:
        """The mode that really answers on each host, or why none does.

        One container of one release, the current one, and no lock left: else that is told.
        """
        return {name: _judge(found) for name, found in self.on(self.probe).items()}

    def settles(self, wanted: Mapping[str, str], bound_s: float = 90) -> dict[str, str]:
        """Wait until these hosts serve what is wanted: a transaction may go on without us."""
        end = time.monotonic() + bound_s
        while True:
            found = self.serves()
            if wanted.items() <= found.items() or time.monotonic() > end:
                return found
            time.sleep(1)

    def says(self, host: str, words: str, bound_s: float = 60) -> None:
        """Wait until the server's journal of this boot has ``words``."""
        end = time.monotonic() + bound_s
        while words not in (said := self.sh(host, "journalctl -q -b -u vllm -o cat")):
            assert time.monotonic() < end, said[-3000:]
            time.sleep(0.5)

    def knobs(self, host: str, *, everything: bool = False, **values: object) -> None:
        """Faults of servers of the other mode only, or of ``everything`` that starts there."""
        length = {mode: number for number, mode in LENGTHS.items()}[self.other]
        only = {} if everything else {"only": {"max-model-len": length}}
        self.lab.write(host, f"{CONTROL}.new", json.dumps({**only, **values}))
        self.lab.run(host, f"mv {CONTROL}.new {CONTROL}")

    def catch(self, host: str, phase: str) -> None:
        """The next transaction stops itself, frozen, in ``phase``."""
        self.lab.write(host, f"{PLACE}/catcher.py", CATCHER)
        self.lab.run(host, f"echo import catcher > {PLACE}/catcher.pth; printf {phase} >/opt/catch")

    def caught(self, names: Iterable[str], process: Popen[str], bound_s: float = 240) -> None:
        """Wait until the transactions of these hosts stand still."""
        end = time.monotonic() + bound_s
        for host in names:
            while self.sh(host, "ls /opt/catch 2>/dev/null"):
                if process.poll() is not None or time.monotonic() > end:
                    process.kill()
                    raise AssertionError(f"{host}: not caught\n{process.communicate()[0][-6000:]}")
                time.sleep(0.3)

    def go_on(self, host: str, after_s: int = 0) -> None:
        """Let a caught transaction go on, by the host's own timer if ``after_s``."""
        kill = f"systemctl kill -s CONT {ACTIVATE}"
        later = f"systemd-run --quiet --collect --on-active={after_s} {kill}"
        self.lab.run(host, later if after_s else kill)

    def clean(self, host: str) -> None:
        """No faults on this host."""
        self.lab.mend(host)
        self.sh(host, f"rm -f {CONTROL} /opt/catch; systemctl kill -s CONT {ACTIVATE}; true")

    def healthy(self) -> None:
        """No faults; all hosts serve one mode. The next run heals whatever a fault left."""
        self.on(self.clean)
        found = set(self.serves().values())
        if len(found) == 1 and found <= {STANDARD, ALTERNATIVE}:
            self.mode = found.pop()
            return
        self.mode = ALTERNATIVE
        done = self.run("switch.py", break_lock="true", canary="spark")
        assert done.code == 0, done.output[-8000:]
        self.mode = STANDARD
        assert self.serves() == dict.fromkeys(self.names, STANDARD)

    def row(self, fault: str, ran: Ran, host: str, told: str, serves: str) -> None:
        """Add a line to the table; ``told`` must stand on one line of the output."""
        outcome = ran.hosts[host]["outcome"] if "evidence: " in ran.output else "not begun"
        ROWS.append(Row(fault, outcome, serves, ran.code, ran.line(told)[:160]))


def _judge(found: Mapping[str, Any]) -> str:
    if found["length"] not in LENGTHS:
        return f"nothing: {found['detail']}"
    if found["containers"] != [found["current"]] or found["unit"] != "active":
        return f"odd: {found}"
    return LENGTHS[found["length"]]
