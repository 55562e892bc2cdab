"""Give network devices their addresses by netplan; the connection this runs over is not risked.

Request: {"path", "text" (the netplan file), "netdevs": {name: address with prefix}, "mtu",
"linked": [names with a cable]}. The file is tried beside the host's own ones in a temporary root
first. When an address that the host had is gone afterwards, what was there before comes back.
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
    """What our devices still lack; one without a cable gets its address when it is plugged in."""
    now = links()
    return [
        f"{name} lacks {request['netdevs'][name]}, mtu {request['mtu']}"
        for name in request["linked"]
        if request["netdevs"][name] not in addresses(now.get(name, {}))
        or now[name].get("mtu") != request["mtu"]
    ]


def applied(request: dict[str, Any], before: dict[str, set[str]]) -> None:
    """Fails when other devices lose addresses, or ours do not get theirs."""
    netplan("apply")
    time.sleep(SETTLE_S)
    end = time.monotonic() + APPLIED_S
    while True:
        now = others(request)
        lost = [f"{n} {', '.join(had - now.get(n, set()))}" for n, had in before.items()
                if had - now.get(n, set())]  # fmt: skip
        late = missing(request)
        if not lost and not late:
            return
        if time.monotonic() > end:
            break
        time.sleep(0.5)
    if lost:
        raise Failed(f"netplan apply took away {'; '.join(lost)}; see what else netplan manages")
    raise Failed(
        f"{'; '.join(late)} after {APPLIED_S} s; another manager holds it: nmcli connection "
        "(delete its 'Wired connection' profile), networkctl status"
    )


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
    now = others(request)
    lost = [(a, name) for name, had in before.items() for a in sorted(had - now.get(name, set()))]
    for address, name in lost:
        subprocess.run(("ip", "address", "add", address, "dev", name), check=False, timeout=10)
    by_hand = ", ".join(f"{address} on {name}" for address, name in lost)
    return told + (f"; put back without netplan, until the next boot: {by_hand}" if lost else "")


def main(request: dict[str, Any]) -> None:
    try:
        change(request)
    except (Failed, OSError, subprocess.SubprocessError) as error:
        sys.exit(f"fabric: {error}")
    print('{"ok": true}')
