"""Give network devices their addresses by netplan; the connection this runs over is not risked.

Request: {"path", "text" (the netplan file), "netdevs": {name: address with prefix}, "mtu"}. The
file is tried beside the host's own ones in a temporary root first. When an address that the host
had is gone afterwards, what was there before comes back.
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

APPLIED_S = 30
# For addresses of other devices: our own connection may hang on them. Undone within 15 s or so, TCP
# comes back in time for the run, which gives a silent host up after 35 s.
LOST_S = 5
SETTLE_S = 3


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


def addresses(link: dict[str, Any]) -> set[str]:
    """Link-local ones aside: they come and go."""
    own = [one for one in link.get("addr_info", ()) if one.get("scope") == "global"]
    return {f"{one['local']}/{one['prefixlen']}" for one in own}


def others(request: dict[str, Any]) -> dict[str, set[str]]:
    """What all devices but ours have."""
    return {n: addresses(x) for n, x in links().items() if n not in request["netdevs"]}


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


def applied(request: dict[str, Any], before: dict[str, set[str]]) -> None:
    """Fails when other devices lose addresses, or ours do not get theirs."""
    netplan("apply")
    time.sleep(SETTLE_S)
    began = time.monotonic()
    while True:
        gone, late = lost(request, before), missing(request)
        if not gone and not late:
            return
        waited = time.monotonic() - began
        if gone and waited > LOST_S:
            told = "; ".join(f"{name} {', '.join(sorted(had))}" for name, had in gone.items())
            raise Failed(f"netplan apply took away {told}; see what else netplan manages")
        if waited > APPLIED_S:
            raise Failed(
                f"{'; '.join(late)} after {APPLIED_S} s; another manager holds it: "
                "nmcli connection (delete its 'Wired connection' profile), networkctl status"
            )
        time.sleep(0.5)


def lost(request: dict[str, Any], before: dict[str, set[str]]) -> dict[str, set[str]]:
    """What other devices had before and have not now."""
    now = others(request)
    gone = {name: had - now.get(name, set()) for name, had in before.items()}
    return {name: had for name, had in gone.items() if had}


def change(request: dict[str, Any]) -> None:
    path = Path(request["path"])
    path.parent.mkdir(parents=True, exist_ok=True)
    tried(request)
    old = path.read_text() if path.exists() else None
    before = others(request)
    put(path, request["text"])
    try:
        applied(request, before)
    except Failed as error:
        put(path, old)
        raise Failed(f"{error}; {restored(request, before)}") from None


def restored(request: dict[str, Any], before: dict[str, set[str]]) -> str:
    """The old file is back; how far netplan took it is told beside what went wrong first."""
    told = "what was there before is back"
    try:
        netplan("apply")
        time.sleep(SETTLE_S)
    except Failed as error:
        told = f"the file from before is back, but could not be applied ({error})"
    gone = [(a, name) for name, had in lost(request, before).items() for a in sorted(had)]
    for address, name in gone:
        subprocess.run(("ip", "address", "add", address, "dev", name), check=False, timeout=10)
    by_hand = ", ".join(f"{address} on {name}" for address, name in gone)
    return told + (f"; put back without netplan, until the next boot: {by_hand}" if gone else "")


def main(request: dict[str, Any]) -> None:
    try:
        change(request)
    except (Failed, OSError, subprocess.SubprocessError) as error:
        sys.exit(f"fabric: {error}")
    print('{"ok": true}')
