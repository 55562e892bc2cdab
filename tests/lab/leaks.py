"""Looks for planted secrets wherever others could read them, and wherever we have no business to
keep them. Secrets travel on stdin only, so that the search is not what it finds."""

from __future__ import annotations

import json
import subprocess
import threading
import time
from collections.abc import Iterable
from pathlib import Path
from shlex import quote

from lab import hosts
from lab.network import inside
from lab.testing import Lab

# Everything a host keeps; its own processes are watched while they run.
FOLDERS = "bin boot etc home opt root run srv tmp usr/local var"
HOLDS = "grep -acF -f /dev/shm/.wanted | grep -vx 0"
SEARCH = (
    "cat > /dev/shm/.wanted; cd /; "
    f"grep -raslF --devices=skip -f /dev/shm/.wanted {FOLDERS}; "
    f"journalctl -q --no-pager -o export | {HOLDS} | sed 's/^/journal /'; "
    f"docker inspect $(docker ps -aq) | {HOLDS} | sed 's/^/inspect /'; "
    f"nft list ruleset | {HOLDS} | sed 's/^/rules /'; rm /dev/shm/.wanted; true"
)
PLACES = {
    "files": f"cd /; find {FOLDERS} -type f 2>/dev/null | wc -l",
    "lines of the journal": "journalctl -q --no-pager -o export | wc -l",
    "containers": "docker ps -aq | wc -l",
    "lines of rules": "nft list ruleset | wc -l",
}
SAMPLER = """
import glob, json, os, select, sys, time
wanted = {wanted!r}
wanted = {{name: "".join(parts).encode() for name, parts in wanted.items()}}
me, found, rounds, seen = str(os.getpid()), set(), 0, set()
end = time.monotonic() + {bound_s}
while time.monotonic() < end and not os.path.exists("/dev/shm/.enough"):
    rounds += 1
    for folder in os.listdir("/proc"):
        if not folder.isdigit() or folder == me:
            continue
        for part in ("cmdline", "environ"):
            try:
                with open(f"/proc/{{folder}}/{{part}}", "rb") as file:
                    text = file.read()
            except OSError:
                continue
            seen.add(folder)
            for name, secret in wanted.items():
                if secret in text:
                    found.add((name, part, text[:80].decode("utf-8", "replace")))
print(json.dumps([rounds, len(seen), sorted(found)]))
"""


class Sampler:
    """Reads every process's command line and environment on a host, over and over."""

    def __init__(self, lab: Lab, host: str, wanted: dict[str, str], bound_s: int = 600) -> None:
        self.lab, self.host = lab, host
        halves = {n: [s[: len(s) // 2], s[len(s) // 2 :]] for n, s in wanted.items()}
        lab.run(host, "rm -f /dev/shm/.enough")
        words = [*hosts.ssh(lab.state, lab.state.host(host)), "sudo -n python3 -"]
        with inside(lab.state.netns):
            self.process = subprocess.Popen(
                words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
            )
        assert self.process.stdin is not None
        self.process.stdin.write(SAMPLER.format(wanted=halves, bound_s=bound_s))
        self.process.stdin.close()
        self.process.stdin = None

    def end(self) -> tuple[int, int, list[list[str]]]:
        """Rounds made, processes seen, and where a secret was: its name, the part, the text."""
        self.lab.run(self.host, "touch /dev/shm/.enough")
        out, _ = self.process.communicate(timeout=60)
        self.lab.run(self.host, "rm -f /dev/shm/.enough")
        rounds, seen, found = json.loads(out)
        return rounds, seen, found


class ControlSide(threading.Thread):
    """The same for this machine's own processes."""

    def __init__(self, wanted: Iterable[str]) -> None:
        super().__init__(daemon=True)
        self.wanted = [text.encode() for text in wanted]
        self.rounds, self.found, self.over = 0, set[str](), threading.Event()

    def run(self) -> None:
        while not self.over.is_set():
            self.rounds += 1
            for folder in Path("/proc").glob("[0-9]*"):
                for part in ("cmdline", "environ"):
                    try:
                        text = (folder / part).read_bytes()
                    except OSError:
                        continue
                    if any(secret in text for secret in self.wanted):
                        self.found.add(f"{part}: {text[:60]!r}")
            time.sleep(0.05)

    def end(self) -> None:
        self.over.set()
        self.join()


def on_host(lab: Lab, host: str, secrets: Iterable[str]) -> list[str]:
    """Files (root's own, too), journal, containers and rules that hold a secret."""
    words = [*hosts.ssh(lab.state, lab.state.host(host)), f"sudo -n sh -c {quote(SEARCH)}"]
    done = lab.control(*words, stdin="".join(f"{s}\n" for s in secrets), timeout=300)
    assert done.returncode == 0, done.stderr
    return done.stdout.split("\n")[:-1]


def places(lab: Lab, host: str) -> str:
    """How much ``on_host`` looks through."""
    return ", ".join(f"{lab.text(host, count)} {what}" for what, count in PLACES.items())


def on_control_side(folders: Iterable[Path], secrets: Iterable[str]) -> list[str]:
    """Files that hold a secret."""
    return [
        str(path)
        for folder in folders
        for path in folder.rglob("*")
        if path.is_file() and any(secret.encode() in path.read_bytes() for secret in secrets)
    ]
