"""How long until all hosts have an image, over equal capped links, the registry's line too.

    python benchmarks/image_fanout.py [--hosts 8] [--mib 48] [--mbit 20]    # Linux, root, the lab

One copy: ``docker pull`` by one host. Star: by all hosts at once. Fan-out: files/take_image.py on
all hosts as deploy.py starts it, until Docker has the image under its registry digest. Each host
has the layers below already, as after an upgrade of the image. Prints seconds, multiples of one
copy, and how often the registry sent each layer.
"""

from __future__ import annotations

import argparse
import json
import secrets
import sys
from dataclasses import asdict
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from benchmarks.fanout import timed
from deploys import programs
from fleet import registry
from fleet.fanout import Member, links
from lab import keeping, lifecycle, network
from lab.state import load
from lab.testing import Lab
from tests.lab.image_sharing import Images

LAB = "imgbench"
PORT = 8473
LIBRARY = "/usr/local/lib/vllm-fleet"
REQUEST, LINKS = "/root/request.json", "/root/links.json"
LAYERS = 6
TAKE = (
    "systemd-run --quiet --unit=bench-take --property=Type=notify --collect "
    f"--property=TimeoutStartSec=infinity python3 {LIBRARY}/take_image.py {REQUEST} {LINKS}"
)


def cleared(images: Images) -> None:
    for host in images.lab.names:
        images.sh(host, "systemctl stop bench-take; rm -rf /root/blobs")
    images.remove()


def plain(images: Images, hosts: list[str]) -> float:
    cleared(images)
    return timed(images.lab, hosts, lambda _: f"docker pull --quiet {images.image}")


def fanned_out(images: Images) -> float:
    """Until Docker has the image on every host."""
    cleared(images)
    lab, place = images.lab, registry.pinned(images.image)
    request = {
        "image": images.image,
        "registry": place.base,
        "repository": place.repository,
        "digest": place.tag,
        "folder": "/root/blobs",
        "room": 0,
    }
    members = [
        Member(name, lab.state.host(name).address, origin=name == lab.names[0])
        for name in lab.names
    ]
    secret = secrets.token_hex(32)
    for member in members:
        told = {**asdict(links(member, members)), "port": PORT, "secret": secret}
        lab.write(member.name, LINKS, json.dumps(told))
        lab.write(member.name, REQUEST, json.dumps(request))
    return timed(lab, lab.names, lambda _: TAKE)


def prepared(hosts: int) -> Lab:
    """Hosts with Docker and our programs, and nothing that serves."""
    lifecycle.up(lifecycle.wanted(LAB, hosts))
    lab = Lab(load(LAB))

    def deployed() -> None:
        data = {"vllm_image": lab.state.images["vllm-standin"]}
        done = lab.pyinfra("deploy.py", "--limit", lab.names[0], data=data)
        if done.returncode:
            raise SystemExit(done.stdout[-4000:])
        lab.run(lab.names[0], "systemctl disable --now vllm")

    lab.give("image-bench", deployed)
    for host in lab.names:
        for name in programs.siblings("take_image"):
            lab.write(host, f"{LIBRARY}/{name}.py", programs.source(name))
    return lab


def measure(images: Images, mib: int) -> None:
    one = min(plain(images, images.lab.names[:1]) for _ in range(2))
    label = f"{mib} MiB in {LAYERS} layers, {len(images.lab.names)} hosts"
    print(f"{label}: one copy (docker pull) {one:.1f} s", flush=True)
    for name, work in (
        ("fan-out", lambda: fanned_out(images)),
        ("star (docker pull)", lambda: plain(images, images.lab.names)),
    ):
        taken = work()
        sent = sorted(images.blobs_fetched().values())
        have = sum(images.present(host) for host in images.lab.names)
        print(
            f"{label}: {name} {taken:.1f} s = {taken / one:.2f} x one copy, {have} hosts have the "
            f"digest, the registry sent each layer {sent[0]} to {sent[-1]} times",
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--hosts", type=int, default=8)
    parser.add_argument("--mib", type=int, default=48)
    parser.add_argument("--mbit", type=float, default=20.0)
    options = parser.parse_args()
    try:
        images = Images(prepared(options.hosts))
        images.push(layers=LAYERS, mib=options.mib / LAYERS)
        for host in images.lab.names:
            images.lab.cap(host, options.mbit)
        network.limit(images.lab.state.netns, "br0", options.mbit)
        measure(images, options.mib)
    finally:
        lifecycle.down(LAB)
        keeping.forget(LAB)


if __name__ == "__main__":
    main()
