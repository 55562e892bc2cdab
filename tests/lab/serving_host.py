"""A lab host with Docker, our programs and the stand-in image, driven without the control side.

What deploy.py would put there is put there by hand, so that the host's own part is tested alone.
"""

from __future__ import annotations

import io
import json
import subprocess
import tarfile
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from shlex import quote
from typing import Any

from lab import hosts
from lab.network import inside
from lab.supply.pool import pool
from lab.testing import REPO, Done, Lab
from tests.files.standin_process import write_model
from tests.lab.staged import CATCHER, PLACE, release_files

IMAGE = "lab/standin:test"
PROGRAM = "python3 -B /usr/local/lib/vllm-fleet"
CONTROL = "/var/lib/vllm-fleet/cache/vllm/standin.json"
A, B, C = "a" * 12, "b" * 12, "c" * 12  # releases; each serves under the name lab/<digit>
DROP_IN = "[Service]\nRestartSec=1\n"
# The host's own Python is all that the stand-in needs.
PYTHON = "bin lib lib64 usr/bin/python3* usr/bin/sh usr/bin/dash usr/lib/python3* usr/lib64"
BUILD = f"""cd / && tar -c {PYTHON} usr/lib/$(uname -m)-linux-gnu | docker import \
 -c 'ENTRYPOINT ["/usr/bin/python3","/opt/src/standin/server.py"]' - {IMAGE}"""


class ServingHost:
    """One host. Every wait is bounded."""

    def __init__(self, lab: Lab, name: str) -> None:
        self.lab = lab
        self.name = name

    def prepare(self, folder: Path) -> None:
        """Docker, programs, unit, model, stand-in image; ``folder`` is for files on the way."""
        debs = pool(self.lab.state.arch)
        names = [*(debs / "docker").glob("*.deb"), *(debs / "universe").glob("tini_*.deb")]
        self.push({f"/tmp/debs/{path.name}": path for path in names})
        self.lab.write(self.name, "/etc/docker/daemon.json", '{"live-restore": true}')
        self.run("dpkg -i /tmp/debs/*.deb && rm -r /tmp/debs")
        self.push({"/opt/src/standin": REPO / "lab/content/standin"})
        self.push({"/opt/model": write_model(folder / f"model-{self.name}")})
        self.run(BUILD, timeout=300)
        self.install()

    def install(self) -> None:
        """Our programs and the unit."""
        programs = {f"/usr/local/lib/vllm-fleet/{p.name}": p for p in (REPO / "files").glob("*.py")}
        self.push({**programs, "/etc/systemd/system/vllm.service": REPO / "files/vllm.service"})
        self.lab.write(self.name, "/etc/systemd/system/vllm.service.d/test.conf", DROP_IN)
        self.run("mkdir -p /var/lib/vllm-fleet/cache/vllm; systemctl daemon-reload")

    def push(self, files: Mapping[str, Path]) -> None:
        """Copy files and folders of the machine to the host."""
        packed = io.BytesIO()
        with tarfile.open(fileobj=packed, mode="w") as archive:
            for place, source in files.items():
                archive.add(source, place, filter=lambda item: (
                    None if "__pycache__" in item.name else item))  # fmt: skip
        words = hosts.ssh(self.lab.state, self.lab.state.host(self.name))
        with inside(self.lab.state.netns):
            subprocess.run(
                [*words, "sudo -n tar -x -C / --no-same-owner"], input=packed.getvalue(),
                check=True, timeout=120,
            )  # fmt: skip

    def run(self, command: str, *, check: bool = True, timeout: float = 120) -> Done:
        return self.lab.run(self.name, command, check=check, timeout=timeout)

    def text(self, command: str) -> str:
        return self.lab.text(self.name, command)

    def stage(self, digest: str, **changes: object) -> None:
        """A release of the stand-in under the name lab/<first digit>."""
        facts: dict[str, Any] = {
            "digest": digest, "mode": "lab", "model": "lab/tiny", "revision": "0" * 40,
            "image": IMAGE, "served_name": f"lab/{digest[0]}", "listen": "127.0.0.1",
            "port": 8000, "ready_timeout_s": 40, "drain_timeout_s": 8, "stall_timeout_s": 6,
            "memory_needed_kib": 0, "container": "vllm", "project": "vllm-fleet", **changes,
        }  # fmt: skip
        folder = f"/etc/vllm-fleet/releases/{digest}"
        texts = {name: value if isinstance(value, str) else json.dumps(value)
                 for name, value in release_files(folder, facts).items()}  # fmt: skip
        lines = [f"printf %s {quote(text)} > {folder}/{name}" for name, text in texts.items()]
        self.run(f"mkdir -p {folder}; " + "; ".join(lines))

    def knobs(self, name: str | None = None, **values: object) -> None:
        """Faults of the stand-in, or only of the one that serves under ``name``."""
        only = {"only": {"served-model-name": [name]}} if name else {}
        self.lab.write(self.name, f"{CONTROL}.new", json.dumps({**only, **values}))
        self.run(f"mv {CONTROL}.new {CONTROL}")

    def activate(self, release: str, **more: object) -> Done:
        """Ask for it; the reply is one JSON line or one line on stderr."""
        request = {"release": release, "who": "ann", "origin": "desk", "why": "test", **more}
        return self.run(f"{PROGRAM}/activate.py start '{json.dumps(request)}'", check=False)

    def status(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.text(f"{PROGRAM}/activate.py status"))
        return found

    def until(self, reached: Callable[[dict[str, Any]], bool], bound_s: float = 90
              ) -> dict[str, Any]:  # fmt: skip
        """The status as soon as ``reached`` holds for it."""
        deadline = time.monotonic() + bound_s
        while not reached(found := self.status()):
            assert time.monotonic() < deadline, found
            time.sleep(0.05)
        return found

    def outcome(self, bound_s: float = 90) -> dict[str, Any]:
        """The report of the activation once it has one."""
        return self.until(lambda found: bool(found.get("outcome")), bound_s)

    def switched(self, release: str, **more: object) -> dict[str, Any]:
        """Activate and wait for the outcome."""
        done = self.activate(release, **more)
        assert done.returncode == 0, done.stderr
        begun: dict[str, Any] = json.loads(done.stdout)
        if begun["outcome"]:
            return begun
        return self.until(lambda found: found["id"] == begun["id"] and bool(found["outcome"]))

    def caught(self, release: str, phase: str) -> None:
        """Begin an activation and stop it, frozen, in ``phase``."""
        self.lab.write(self.name, f"{PLACE}/catcher.py", CATCHER)
        self.run(f"echo import catcher > {PLACE}/catcher.pth; printf {phase} > /opt/catch")
        done = self.activate(release)
        assert done.returncode == 0, done.stderr
        deadline = time.monotonic() + 90
        while self.run("test -e /opt/catch", check=False).returncode == 0:
            assert time.monotonic() < deadline, self.status()
            time.sleep(0.1)
        time.sleep(0.2)
        record = json.loads(self.text("cat /var/lib/vllm-fleet/activation.json"))
        assert record["phase"] == phase, record

    def completion(self) -> dict[str, Any]:
        """What the gate says of the current release."""
        found: dict[str, Any] = json.loads(self.text(f"{PROGRAM}/completion.py '{{}}'"))
        return found

    def serves(self) -> str | None:
        """The name that really answers now; None if none does."""
        found = self.completion()
        return str(found["served_name"]) if found["ok"] else None

    def unit(self, name: str = "ActiveState", unit: str = "vllm") -> str:
        return self.text(f"systemctl show --value -p {name} {unit}")

    def settled(self, bound_s: float = 60) -> None:
        """Wait until vllm.service serves."""
        deadline = time.monotonic() + bound_s
        while self.unit() != "active":
            assert time.monotonic() < deadline, self.journal()
            time.sleep(0.2)

    def journal(self, lines: int = 30, unit: str = "vllm") -> str:
        return self.text(f"journalctl -q -o cat --no-pager -n {lines} -u {unit}")

    def link(self, name: str) -> str:
        return self.text(f"basename $(readlink /etc/vllm-fleet/{name} || echo none)")

    def containers(self) -> list[str]:
        return self.text("docker ps -a --format '{{.Names}} {{.Label \"vllm-fleet.release\"}}'"
                         ).splitlines()  # fmt: skip

    def audit(self) -> dict[str, Any]:
        """The last line of the audit log."""
        found: dict[str, Any] = json.loads(self.text("tail -n1 /var/log/vllm-fleet/audit.jsonl"))
        return found

    def healthy(self) -> None:
        """No faults; release a serves, with none before it; b and c are staged."""
        self.run(f"rm -f {CONTROL}")
        for digest in (A, B, C):
            self.stage(digest)
        report = self.status()
        if not report.get("outcome") or self.link("current") != A or self.unit() != "active":
            self.clean()
            for digest in (A, B, C):
                self.stage(digest)
            assert self.switched(A)["outcome"] == "switched"
        self.run("rm -f /etc/vllm-fleet/previous")

    def clean(self) -> None:
        """As after prepare(): nothing activated, nothing running, no faults."""
        self.run(
            "systemctl kill -s KILL vllm-fleet-activate; "
            "systemctl stop vllm-fleet-activate vllm; "
            "systemctl disable -q vllm; systemctl reset-failed vllm; "
            "docker rm -f $(docker ps -aq); "
            "rm -rf /etc/vllm-fleet /var/lib/vllm-fleet/*.json /run/vllm-fleet "
            f"/run/vllm-fleet.lock* /var/log/vllm-fleet {CONTROL} /opt/catch",
            check=False,
        )


def spread(
    hosts: Sequence[ServingHost], cases: Sequence[Any], check: Callable[[ServingHost, Any], None]
) -> None:
    """Check every case, each on the next host that is free; all failures are told."""
    waiting, failures = list(cases), []

    def work(host: ServingHost) -> None:
        while waiting:
            case = waiting.pop(0)
            try:
                host.healthy()
                check(host, case)
            except Exception as error:
                failures.append(f"{case} on {host.name}: {type(error).__name__}: {error}")

    with ThreadPoolExecutor(len(hosts)) as pool:
        list(pool.map(work, hosts))
    assert not failures, "\n".join(failures)


def prepared_hosts(lab: Lab, folder: Path) -> list[ServingHost]:
    """Every host of the lab, ready to serve."""
    found = [ServingHost(lab, name) for name in lab.names]
    lab.give("prepared", lambda: found[0].prepare(folder))
    return found
