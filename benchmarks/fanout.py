"""How long until all hosts have a model, over equal capped links: one copy, a star, the fan-out.

    python benchmarks/fanout.py [--hosts 8] [--mib 64] [--mbit 40]      # Linux, root, the lab

One host has the model, ``--hosts`` others take it; each cable carries ``--mbit`` each way. One copy
and star: rsync daemon on the first host, to one and to all others. Fan-out: files/take_model.py as
deploy.py starts it, its sha256 check included. Prints seconds and multiples of one copy.
"""

from __future__ import annotations

import argparse
import json
import secrets
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from deploys import programs
from fleet.fanout import Member, links
from lab import lifecycle
from lab.state import load
from lab.testing import Lab

LAB = "fanbench"
PORT = 8473
LIBRARY = "/usr/local/lib/vllm-fleet"
REVISION = "0" * 40
FOLDER = "/srv/models/hub/models--bench--model"
SNAPSHOT = f"{FOLDER}/snapshots/{REVISION}"
REQUEST, LINKS = "/root/request.json", "/root/links.json"
MAKE = """python3 - <<'END'
import hashlib, json, os
os.makedirs("{snapshot}")
files = []
for number in range({count}):
    name, content = f"part-{{number:02}}", os.urandom({size})
    open("{snapshot}/" + name, "wb").write(content)
    sha256 = hashlib.sha256(content).hexdigest()
    files.append(dict(path=name, size=len(content), sha256=sha256))
print(json.dumps(files))
END"""
CHECK = f"""python3 - <<'END'
import sys
sys.path.insert(0, "{LIBRARY}")
import pathlib, model_request, weights
request = model_request.read(pathlib.Path("{REQUEST}"))
assert weights.check(request.folder, request.files).whole
END"""
DAEMON = (
    "printf '[m]\\npath = /srv/models\\nuid = root\\nuse chroot = no\\n' > /root/rsyncd.conf && "
    "systemd-run --quiet --unit=bench-rsyncd rsync --daemon --no-detach --config=/root/rsyncd.conf"
)


def timed(lab: Lab, hosts: list[str], command: Callable[[str], str]) -> float:
    """Seconds until the command has ended on all hosts, side by side."""
    with ThreadPoolExecutor(len(hosts)) as pool:
        began = time.monotonic()
        list(pool.map(lambda host: lab.run(host, command(host), timeout=1200), hosts))
        return time.monotonic() - began


def cleared(lab: Lab, hosts: list[str]) -> None:
    for host in hosts:
        lab.run(
            host, f"systemctl stop bench-take; rm -rf {FOLDER} /var/lib/vllm-fleet", check=False
        )


def rsynced(lab: Lab, hosts: list[str]) -> float:
    first = lab.state.hosts[0].address
    taken = timed(
        lab, hosts, lambda _: f"mkdir -p /srv && rsync -r rsync://{first}/m/ /srv/models/"
    )
    cleared(lab, hosts)
    return taken


def fanned_out(lab: Lab, hosts: list[str]) -> float:
    """Until every host's unit is ready: all files there, and found as locked."""
    members = [
        Member(name, lab.state.host(name).address, whole=name == lab.names[0])
        for name in (lab.names[0], *hosts)
    ]
    secret = secrets.token_hex(32)
    for member in members:
        told = {**asdict(links(member, members)), "port": PORT, "secret": secret}
        lab.write(member.name, LINKS, json.dumps(told))
    start = "systemd-run --quiet --unit=bench-take --property=Type=notify "
    start += "--property=TimeoutStartSec=infinity --collect "
    start += f"python3 {LIBRARY}/take_model.py {REQUEST} {LINKS}"
    lab.run(lab.names[0], start)
    taken = timed(lab, hosts, lambda _: start)
    lab.run(lab.names[0], "systemctl stop bench-take")
    cleared(lab, hosts)
    return taken


def prepared(lab: Lab, count: int, size: int) -> None:
    """The programs everywhere, and a model of ``count`` files on the first host."""
    made = lab.text(lab.names[0], MAKE.format(snapshot=SNAPSHOT, count=count, size=size))
    body = {"hub": "/srv/models/hub", "repo": "bench/model", "revision": REVISION}
    unused = {"image": "", "endpoint": "", "token_file": "/nonexistent"}
    request = json.dumps({**body, **unused, "files": json.loads(made)})
    for host in lab.names:
        for name in programs.siblings("take_model"):
            lab.write(host, f"{LIBRARY}/{name}.py", programs.source(name))
        lab.write(host, REQUEST, request)
    lab.run(lab.names[0], CHECK)


def measure(lab: Lab, count: int, mib: int) -> None:
    cleared(lab, lab.names)
    prepared(lab, count, (mib << 20) // count)
    others = lab.names[1:]
    one = min(rsynced(lab, others[:1]) for _ in range(2))
    label = f"{count} file{'s' if count > 1 else ''}, {mib} MiB, {len(others)} hosts"
    print(f"{label}: one copy (rsync) {one:.1f} s", flush=True)
    for name, taken in (
        ("fan-out to one host", fanned_out(lab, others[:1])),
        ("fan-out", fanned_out(lab, others)),
        ("star of rsync", rsynced(lab, others)),
    ):
        print(f"{label}: {name} {taken:.1f} s = {taken / one:.2f} x one copy", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--hosts", type=int, default=8)
    parser.add_argument("--mib", type=int, default=64)
    parser.add_argument("--mbit", type=float, default=40.0)
    options = parser.parse_args()
    lifecycle.up(lifecycle.wanted(LAB, options.hosts + 1))
    try:
        lab = Lab(load(LAB))
        for host in lab.names:
            lab.cap(host, options.mbit)
        lab.run(lab.names[0], DAEMON)
        for count in (1, 40):
            measure(lab, count, options.mib)
    finally:
        lifecycle.down(LAB)


if __name__ == "__main__":
    main()
