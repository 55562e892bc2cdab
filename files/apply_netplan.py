"""Give network devices their addresses by netplan; the connection this runs over is not risked.

Request: {"path", "text" (the netplan file), "netdevs": {name: address with prefix}, "mtu"}. The
file is tried beside the host's own ones in a temporary root first. When an address that the host
had is gone afterwards, what was there before comes back. Travels together with its siblings.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from facts import finish, start
from facts_fabric import ssh_address

APPLIED_S = 30
# For addresses of other devices: our own connection may hang on them. Undone within 20 s or so, TCP
# comes back in time for the run, which gives a silent host up after 35 s.
LOST_S = 5
NETWORK_MANAGER_S = 30  # it begins every connection anew: scan, associate, ask for a lease
SETTLE_S = 3
Addresses = dict[str, dict[str, int | None]]  # device → address → seconds of a lease, None: static


class Failed(Exception):
    """One line: what was found, and the remedy."""


def netplan(*words: str) -> str:
    try:
        done = subprocess.run(
            ("netplan", *words), stdin=subprocess.DEVNULL, capture_output=True, text=True,
            env={**os.environ, "LC_ALL": "C.UTF-8"}, check=False, timeout=120,
        )  # fmt: skip
    except FileNotFoundError:
        raise Failed("found no netplan; install netplan.io") from None
    if done.returncode:
        lines = (done.stderr or done.stdout).strip().splitlines() or ["no output"]
        raise Failed(f"netplan {words[0]} ended with {done.returncode}: {lines[-1]}")
    return done.stdout


def tried(request: dict[str, Any]) -> None:
    """Fails unless netplan takes the file and, with all other files, means just what it says."""
    with tempfile.TemporaryDirectory() as root:
        folder = Path(root, "etc/netplan")
        shutil.copytree(Path(request["path"]).parent, folder, dirs_exist_ok=True)
        put(folder / Path(request["path"]).name, request["text"])
        netplan("generate", "--root-dir", root)
        for name, address in request["netdevs"].items():
            wanted = {"addresses": [address], "mtu": [str(request["mtu"])], "dhcp4": ["false"]}
            for key, values in wanted.items():
                found = values_of(netplan("get", "--root-dir", root, f"ethernets.{name}.{key}"))
                if found != values:
                    raise Failed(
                        f"{name}: found {key} {', '.join(found)} in netplan's files together, "
                        f"wanted {', '.join(values)}; take {name} out of the other files"
                    )


def values_of(answer: str) -> list[str]:
    """A value, or a list with a line for each."""
    return [line.strip().removeprefix("- ").strip("\"'") for line in answer.strip().splitlines()]


def put(path: Path, text: str | None) -> None:
    """Whole or not at all, and readable by root only, as netplan wants it."""
    if text is None:
        path.unlink(missing_ok=True)
        return
    new = path.with_name(f".{path.name}.new")
    new.unlink(missing_ok=True)
    with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    os.replace(new, path)


def links() -> dict[str, dict[str, Any]]:
    listing = subprocess.run(
        ("ip", "-j", "address", "show"), capture_output=True, text=True, check=True
    ).stdout
    return {link["ifname"]: link for link in json.loads(listing) if "ifname" in link}


def addresses(link: dict[str, Any]) -> dict[str, int | None]:
    return {
        f"{one['local']}/{one['prefixlen']}": one["valid_life_time"] if "dynamic" in one else None
        for one in link.get("addr_info", ())
        if lasting(one)
    }


def lasting(entry: dict[str, Any]) -> bool:
    """Others come and go: link-local ones, and those that IPv6 replaces for privacy."""
    passing = entry.get("temporary") or entry.get("deprecated")
    return entry.get("scope") == "global" and not passing


def others(request: dict[str, Any]) -> Addresses:
    """What all devices but ours have."""
    return {n: addresses(x) for n, x in links().items() if n not in request["netdevs"]}


def network_manager() -> bool:
    """Whether it manages devices here."""
    asked = start("nmcli", "-t", "-f", "RUNNING", "general")
    return asked is not None and finish(asked) == (0, "running")


def kept(had: Addresses, ours: str | None) -> Addresses:
    """What is static, and ``ours``: a new lease may be for another address."""
    return {
        name: {a: lease for a, lease in own.items() if lease is None or a.split("/")[0] == ours}
        for name, own in had.items()
    }


def missing(request: dict[str, Any]) -> list[str]:
    """What our devices still lack."""
    now, mtu = links(), request["mtu"]
    return [
        f"{name} lacks {address}, mtu {mtu}"
        for name, address in request["netdevs"].items()
        if lacks(now.get(name, {}), address, mtu)
    ]


def lacks(link: dict[str, Any], address: str, mtu: int) -> bool:
    """A device that is up without a cable gets its address when it is plugged in."""
    flags = link.get("flags", ())
    if "UP" not in flags:
        return True
    return "LOWER_UP" in flags and (address not in addresses(link) or link.get("mtu") != mtu)


def applied(request: dict[str, Any], before: Addresses, lost_s: int) -> None:
    """Fails when other devices lack addresses for ``lost_s``, or ours do not get theirs."""
    netplan("apply")
    time.sleep(SETTLE_S)
    began = time.monotonic()
    while True:
        gone, late = lost(request, before), missing(request)
        if not gone and not late:
            return
        waited = time.monotonic() - began
        if gone and waited > lost_s:
            told = "; ".join(f"{name} {', '.join(sorted(had))}" for name, had in gone.items())
            raise Failed(f"netplan apply took away {told}; see what else netplan manages")
        if late and waited > APPLIED_S:
            raise Failed(
                f"{'; '.join(late)} after {APPLIED_S} s; another manager holds it: "
                "nmcli connection (delete its 'Wired connection' profile), networkctl status"
            )
        time.sleep(0.5)


def lost(request: dict[str, Any], before: Addresses) -> Addresses:
    """What other devices had before and have not now."""
    now = others(request)
    gone = {
        name: {a: lease for a, lease in had.items() if a not in now.get(name, {})}
        for name, had in before.items()
    }
    return {name: had for name, had in gone.items() if had}


def change(request: dict[str, Any]) -> None:
    path = Path(request["path"])
    path.parent.mkdir(parents=True, exist_ok=True)
    tried(request)
    old = path.read_text() if path.exists() else None
    before, lost_s = others(request), LOST_S
    if network_manager():
        before, lost_s = kept(before, ssh_address()), NETWORK_MANAGER_S
    put(path, request["text"])
    try:
        applied(request, before, lost_s)
    except Failed as error:
        put(path, old)
        raise Failed(f"{error}; {restored(request, before, lost_s)}") from None


def restored(request: dict[str, Any], before: Addresses, lost_s: int) -> str:
    """The old file is back; how far netplan took it is told beside what went wrong first."""
    told = "what was there before is back"
    try:
        netplan("apply")
        time.sleep(SETTLE_S)
    except Failed as error:
        told = f"the file from before is back, but could not be applied ({error})"
    began = time.monotonic()
    while (gone := lost(request, before)) and time.monotonic() - began < lost_s:
        time.sleep(0.5)
    by_hand = ", ".join(
        put_back(address, name, lease)
        for name, had in gone.items()
        for address, lease in sorted(had.items())
    )
    return told + (f"; put back without netplan, until the next boot: {by_hand}" if gone else "")


def put_back(address: str, name: str, lease: int | None) -> str:
    """Without netplan. A lease stays one: it ends when it would have, unless it is renewed."""
    life = ("valid_lft", str(lease), "preferred_lft", str(lease)) if lease is not None else ()
    words = ("ip", "address", "add", address, "dev", name, *life)
    subprocess.run(words, check=False, timeout=10)
    return f"{address} on {name}" + (f" for {lease} s" if lease is not None else "")


def main(request: dict[str, Any]) -> None:
    try:
        change(request)
    except (Failed, OSError, subprocess.SubprocessError) as error:
        sys.exit(f"fabric: {error}")
    print('{"ok": true}')
