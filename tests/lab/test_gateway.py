"""Replicas behind one endpoint, under load: switched, reverted, killed hard."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from fleet import vault
from fleet.access import AccessSettings
from lab.load import Record, read, table
from lab.network import inside
from lab.testing import REPO, Done, Lab
from tests.lab.conftest import deploy_first, settled
from tests.lab.host_half_support import NO_IMAGE
from tests.lab.test_deploy import grand_total
from tests.lab.test_upgrade import NEW

HOSTS = 5  # four replicas, the last one is the gateway
INVENTORY = "lab/inventory_gateway.py"
KNOBS = "/var/lib/vllm-fleet/cache/vllm/standin.json"
CALM_S = 12.0
DOCKERS = ("docker", "containerd", "compose")  # packages that no reboot is needed for
SOCKET = "/run/vllm-fleet-haproxy-gateway/admin.sock"


class Gateway:
    """The lab, its keys, and a folder for what is measured."""

    def __init__(self, lab: Lab, folder: Path, image: str = "vllm-standin") -> None:
        self.lab = lab
        self.folder = folder
        self.image = image
        self.access = AccessSettings(secrets_dir=str(folder / "secrets"))

    @property
    def name(self) -> str:
        return self.lab.names[-1]

    @property
    def replicas(self) -> list[str]:
        return self.lab.names[:-1]

    def run(self, deploy: str, *words: str, code: int = 0, **data: str) -> Done:
        own = {"listen": "0.0.0.0", "secrets_dir": self.access.secrets_dir, "drain_limit_s": "60"}
        done = self.lab.pyinfra(
            deploy,
            *words,
            data={"vllm_image": self.lab.state.images[self.image], **own, **data},
            inventory=INVENTORY,
        )
        if done.returncode != code:
            pytest.fail(f"{deploy}: exit {done.returncode}, wanted {code}\n{done.stdout[-9000:]}")
        return done

    def knobs(self, text: str, *hosts: str) -> None:
        """Behaviour of the stand-in; a token takes 50 ms where nothing else is said."""
        for name in hosts or self.replicas:
            self.lab.write(name, f"{KNOBS}.new", text)
            self.lab.run(name, f"mv {KNOBS}.new {KNOBS}")

    @contextmanager
    def load(self, name: str, rate: float = 3.0, tokens: int = 400) -> Iterator[Path]:
        """Constant load meanwhile, from CALM_S before to CALM_S after what is done in it.

        One of ten takes 20 s, so that seven or eight are under way at once: lab-alternative lets
        four into an engine.
        """
        out = self.folder / f"{name}.jsonl"
        address = self.lab.state.host(self.name).address
        words = [
            *(sys.executable, "-m", "lab.load", str(out), f"https://{address}:443/v1"),
            *("--model", "lab/tiny", "--key-file", str(vault.key_path(self.access))),
            *("--ca", str(vault.certificates(self.access)), "--name", self.name),
            *("--rate", str(rate), "--seconds", "900", "--slow-tokens", str(tokens)),
        ]
        with inside(self.lab.state.netns):
            process = subprocess.Popen(words, stderr=subprocess.PIPE, text=True)
        try:
            time.sleep(CALM_S)
            yield out
            time.sleep(CALM_S)
        finally:
            process.terminate()
            said = process.communicate(timeout=150)[1]
        assert process.returncode == 0, said

    def told(self, name: str, out: Path, begin: float, end: float) -> list[Record]:
        """The records; their table is printed and kept."""
        found = read(out)
        marks = {"before": (0.0, begin), "during": (begin, end), "after": (end, 1e12)}
        text = f"\n{name}: {len(found)} sent, {sum(bool(r.error) for r in found)} failed, "
        text += f"{end - begin:.0f} s\n{table(found, marks)}\n"
        self.note(text)
        return found

    def note(self, text: str) -> None:
        """Print it, and keep it where $GATEWAY_FIGURES says."""
        if where := os.environ.get("GATEWAY_FIGURES"):
            with open(where, "a", encoding="utf-8") as file:
                file.write(f"{text}\n")
        print(text)

    def until_out(self, server: str, bound_s: float = 60) -> float:
        """When the gateway took a server out, epoch seconds; asked on the gateway itself."""
        program = (REPO / "files/gateway.py").read_text()
        look = f"""
import time
end = time.time() + {bound_s}
while not statuses({SOCKET!r})[{server!r}].startswith("DOWN") and time.time() < end:
    time.sleep(0.05)
print(time.time())
"""
        self.lab.write(self.name, "/tmp/until_out.py", program + look)
        return float(self.lab.text(self.name, "python3 /tmp/until_out.py; rm /tmp/until_out.py"))


@pytest.fixture(scope="module")
def gateway(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Gateway:
    """Four replicas that serve the stand-in, and the gateway."""
    lab.give("deployed", lambda: deploy_first(lab))
    settled(lab)
    lab.reset(lab.names[-1])
    found = Gateway(lab, tmp_path_factory.mktemp("gateway"))
    found.run("deploy.py")
    found.knobs('{"itl_s": 0.05}')
    return found


def failures(records: list[Record]) -> list[Record]:
    return [record for record in records if record.error]


def test_the_second_run_changes_nothing(gateway: Gateway) -> None:
    done = gateway.run("deploy.py")
    assert grand_total(done.stdout)[1] == 0, done.stdout[-4000:]
    gateway.run("verify.py")
    gateway.run("status.py")
    assert "vllm" not in gateway.lab.text(gateway.name, "ls /usr/local/lib")


def test_a_switch_of_all_under_load_loses_no_request(gateway: Gateway) -> None:
    with gateway.load("switch") as out:
        begin = time.time()
        gateway.run("deploy.py", vllm_mode="lab-alternative")
        end = time.time()
    found = gateway.told("switch", out, begin, end)
    assert len({record.replica for record in found}) == len(gateway.replicas)
    assert not failures(found), failures(found)[:5]


def test_a_canary_that_fails_loses_no_request(gateway: Gateway) -> None:
    bad = '{"itl_s": 0.05, "only": {"max-model-len": 512}, "error_500": true}'
    with gateway.load("revert") as out:
        gateway.knobs(bad, gateway.replicas[0])
        begin = time.time()
        done = gateway.run("deploy.py", code=3, vllm_mode="lab-standard")
        end = time.time()
    assert "untouched" in done.stdout
    gateway.knobs('{"itl_s": 0.05}')
    assert not failures(gateway.told("revert", out, begin, end))


def test_what_would_leave_no_replica_is_refused_before_anything_stops(gateway: Gateway) -> None:
    words = [word for name in gateway.replicas[1:] for word in ("--exclude", name)]
    done = gateway.run("switch.py", code=1, vllm_mode="lab-standard", canary="spark")
    assert "takes every replica that serves lab/tiny" in done.stdout, done.stdout[-3000:]
    gateway.lab.run(gateway.replicas[1], "systemctl stop vllm-fleet-haproxy@api")
    for name in gateway.replicas[2:]:
        gateway.lab.run(name, "systemctl stop vllm-fleet-haproxy@api")
    time.sleep(8)
    done = gateway.run("switch.py", *words, code=1, vllm_mode="lab-standard")
    assert "found no other replica in service" in done.stdout, done.stdout[-3000:]
    for name in gateway.replicas[1:]:
        gateway.lab.run(name, "systemctl start vllm-fleet-haproxy@api")


def test_a_name_that_clients_use_stays_until_all_is_staged(gateway: Gateway) -> None:
    other = {"vllm_mode": "lab-alternative", "served_name": "lab/other"}
    done = gateway.run("switch.py", code=1, **other)
    assert "served name: found clients of the gateway use lab/tiny" in done.stdout
    forced = {**other, "allow_downtime": "true", "vllm_image": NO_IMAGE}
    done = gateway.run("switch.py", code=1, **forced)
    assert "registry.lab:5000/none" in done.stdout
    gateway.run("status.py", vllm_mode="lab-alternative")


def test_a_replica_that_a_killed_run_left_out_comes_back(gateway: Gateway) -> None:
    left_out(gateway)
    gateway.run("deploy.py", vllm_mode="lab-alternative")
    gateway.run("status.py", vllm_mode="lab-alternative")
    left_out(gateway)
    gateway.run("upgrade.py", vllm_mode="lab-alternative")  # has nothing to move
    gateway.run("status.py", vllm_mode="lab-alternative")


def left_out(gateway: Gateway) -> None:
    """A replica is drained, and status.py says so."""
    order = {"socket": SOCKET, "do": "drain", "server": gateway.replicas[1]}
    program = (REPO / "files/gateway.py").read_text()
    gateway.lab.write(gateway.name, "/tmp/drain.py", f"{program}\nmain({order!r})\n")
    gateway.lab.run(gateway.name, "python3 /tmp/drain.py; rm /tmp/drain.py")
    done = gateway.run("status.py", code=1)
    assert f"{gateway.replicas[1]} is DRAIN" in done.stdout


def test_an_upgrade_of_all_under_load_loses_no_request(gateway: Gateway) -> None:
    pins = {name: NEW[name] for name in NEW if name.split("_")[0] in DOCKERS}
    with gateway.load("upgrade") as out:
        begin = time.time()
        done = gateway.run("upgrade.py", vllm_mode="lab-alternative", **pins)
        end = time.time()
    assert done.stdout.count("in service at gateway") == len(gateway.replicas)
    assert not failures(gateway.told("upgrade", out, begin, end))


def test_a_host_that_loses_power_costs_only_what_it_had(gateway: Gateway) -> None:
    victim = gateway.replicas[-1]
    with gateway.load("kill") as out:
        begin = time.time()
        gateway.lab.kill(victim)
        out_s = gateway.until_out(victim) - begin
        time.sleep(max(0.0, begin + 30 - time.time()))
        end = time.time()
    found = gateway.told("kill", out, begin, end)
    lost = failures(found)
    seen = [r.at for r in found if r.replica == victim and not r.error]
    last = max((r.at + r.seconds for r in lost), default=begin) - begin
    gateway.note(f"out after {out_s:.1f} s; failed {len(lost)}, all told after {last:.1f} s")
    assert all(r.at <= begin + 0.5 for r in lost), lost
    assert all(r.replica in ("", victim) for r in lost), lost
    assert max(seen, default=0.0) <= begin + 0.5
    gateway.lab.start(victim)
