"""Takes away what vllm-fleet put on this host, and nothing else. Done twice, it finds nothing.

Travels on stdin together with its siblings, because the installed programs go too. A file is ours
by its folder or as ``own_files.py`` says; a container by its label; a package's hold and a model's
weights by our own record of having made them.
"""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import command
import container
import durable
import fetched
import hostlock
import layout
import own_files
import systemd
from errors import HostError, exit_code
from thing import Thing

SYSTEM = Path("/etc/systemd/system")
NEEDRESTART = Path("/etc/needrestart")  # made for our file where that is not installed
JOBS = "vllm-fleet-*.service"  # pulls and downloads under way, activations, services of ours
PACKAGED_REGISTRY = "docker-registry.service"
STOP_S = 3700.0  # a draining server finishes what it has begun


def things(request: dict[str, Any]) -> list[Thing]:
    """All that is here, in the order in which it has to go. Nothing is changed."""
    files = own_files.found(request["files"])
    return [
        *units(files),
        *containers(),
        *(images() if request["images"] else []),
        *holds(),
        *masks(files),
        *(weights(Path(request["hub"])) if request["weights"] else []),
        *mounts(files),
        *(Thing(path, partial(unlink, Path(path))) for path in files),
        *folders(Path(request["hub"])),
    ]


def units(files: Sequence[str]) -> list[Thing]:
    """What runs, the server last: a pull or an activation could start it again."""
    out = command.run(
        ["systemctl", "list-units", "--all", "--plain", "--no-legend", "--full", JOBS]
    )
    running = {line.split()[0] for line in out.splitlines() if line.strip()}
    installed = {Path(path).name for path in files if path.startswith(f"{SYSTEM}/")}
    jobs = [Thing(f"unit {name}", partial(quit_unit, name)) for name in sorted(running)]
    if layout.UNIT in installed:
        jobs.append(Thing(f"unit {layout.UNIT}", partial(quit_unit, layout.UNIT)))
    return jobs


def quit_unit(name: str) -> None:
    """Stop it for good. Raises HostError if it still runs."""
    command.attempt(["systemctl", "disable", "--quiet", name], timeout=60)
    systemd.stop(name, timeout=STOP_S)
    systemd.reset_failed(name)
    if systemd.show(name).alive:
        raise HostError(f"{name} does not stop; see systemctl status {name}")


def containers() -> list[Thing]:
    """Those with our label, on a host that has Docker."""
    if shutil.which("docker") is None:
        return []
    return [
        Thing(f"container {item.name} ({item.release})", partial(container.remove, item))
        for item in container.ours()
    ]


def images() -> list[Thing]:
    """Those that a release on this host names; one that something else uses stays."""
    if shutil.which("docker") is None:
        return []
    named = {read["image"] for read in staged() if read.get("image")}
    present = [
        name
        for name in sorted(named)
        if command.attempt(["docker", "image", "inspect", name]).rc == 0
    ]
    remove = ["docker", "image", "rm"]
    return [
        Thing(f"image {name}", partial(command.run, [*remove, name], timeout=300))
        for name in present
    ]


def staged() -> list[dict[str, Any]]:
    """release.json of every release here."""
    found = (durable.read_json(path) for path in layout.RELEASES.glob("*/release.json"))
    return [read for read in found if read]


def holds() -> list[Thing]:
    """Packages that we held and that still are."""
    try:
        ours = set(layout.HELD.read_text().split())
    except FileNotFoundError:
        return []
    held = ours & set(command.run(["apt-mark", "showhold"]).split())
    return [
        Thing(f"hold of {name}", partial(command.run, ["apt-mark", "unhold", name]))
        for name in sorted(held)
    ]


def masks(files: Sequence[str]) -> list[Thing]:
    """That of the registry's own unit, which goes with our registry; it stays switched off."""
    ours = any(Path(path).name == layout.REGISTRY_UNIT for path in files)
    path = SYSTEM / PACKAGED_REGISTRY
    if not ours or not path.is_symlink() or str(path.readlink()) != "/dev/null":
        return []
    return [Thing(f"mask of {PACKAGED_REGISTRY}", unmask_registry)]


def unmask_registry() -> None:
    """Left disabled: by its package it would start at boot and let all the world push."""
    command.run(["systemctl", "unmask", "--quiet", PACKAGED_REGISTRY])
    command.run(["systemctl", "disable", "--quiet", PACKAGED_REGISTRY])


def weights(hub: Path) -> Iterator[Thing]:
    """The models that we brought into the cache; others that lie in it stay, and so do commits that
    somebody else fetched of ours."""
    ours = {path.parent.name for path in layout.MODELS.glob("*/*.json")}
    ours |= {"models--" + str(read["model"]).replace("/", "--") for read in staged()}
    for folder in (hub / name for name in sorted(ours) if (hub / name).is_dir()):
        yield from fetched.model(folder)


def mounts(files: Sequence[str]) -> list[Thing]:
    """The shared model cache. What lies in it is not on this host."""
    names = [Path(path).name for path in files if path.endswith(".mount")]
    return [Thing(f"unit {name}", partial(quit_unit, name)) for name in names]


def folders(hub: Path) -> list[Thing]:
    """Ours altogether; and the model cache where it is empty (``rmdir`` takes nothing else)."""
    whole = [layout.RELEASES.parent, layout.PROGRAMS, layout.STATE, layout.AUDIT.parent,
             layout.SERVING.parent]  # fmt: skip
    gone = [Thing(str(path), partial(shutil.rmtree, path)) for path in whole if path.exists()]
    empty = [path for path in (hub, hub.parent) if path.is_dir() and is_empty(path, but=hub)]
    return [*gone, *(Thing(str(path), path.rmdir) for path in empty)]


def is_empty(path: Path, *, but: Path) -> bool:
    return all(entry == but and is_empty(but, but=but) for entry in path.iterdir())


def unlink(path: Path) -> None:
    """Remove a file, and its folders if they were made for it."""
    path.unlink(missing_ok=True)
    for folder in made_for(path):
        if folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()


def made_for(path: Path) -> list[Path]:
    """The folders that are of no use without files such as ``path``, the inner one first."""
    if path.is_relative_to(NEEDRESTART):
        return [path.parent, NEEDRESTART]
    drop_ins = path.parent.name.endswith(".d") and path.parent.parent == SYSTEM
    return [path.parent] if drop_ins else []


def settle(paths: Sequence[str]) -> None:
    """Let systemd, GRUB and the certificate store see what is gone."""
    if any(path.startswith(f"{SYSTEM}/") for path in paths):
        command.run(["systemctl", "daemon-reload"], timeout=60)
    if any(path.startswith("/etc/exports.d/") for path in paths):
        command.run(["exportfs", "-ra"], timeout=60)
    if any(path.startswith("/etc/default/grub.d/") for path in paths):
        command.run(["update-grub"], timeout=120)
    if any(path.startswith("/usr/local/share/ca-certificates/") for path in paths):
        command.run(["update-ca-certificates", "--fresh"], timeout=120)


def remove(request: dict[str, Any]) -> list[str]:
    """Take all of it away under the host's lock; returns what went."""
    owner = hostlock.owner(request["who"], request["origin"], "remove")
    hostlock.take(owner, break_it=bool(request["break_lock"]))
    try:
        found = things(request)
        for thing in found:
            thing.remove()
        settle([thing.text for thing in found])
    finally:
        hostlock.free(owner)
    Path(f"{layout.LOCK}.guard").unlink(missing_ok=True)
    return [thing.text for thing in found]


def main(request: dict[str, Any]) -> None:
    """Print {"found": [...]} or, with "go", {"removed": [...]} as one JSON line.

    Keys: files (patterns of paths), hub, weights, images, go, who, origin, break_lock.
    """

    def work() -> int:
        if request["go"]:
            print(json.dumps({"removed": remove(request)}), flush=True)
        else:
            print(json.dumps({"found": [t.text for t in things(request)]}), flush=True)
        return 0

    sys.exit(exit_code("remove", work))
