"""A running lab as tests use it: commands on hosts, faults, resets, and pyinfra against it."""

import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from shlex import quote

from lab import hosts, keeping, lifecycle, network
from lab.cache import locked
from lab.command import LabError
from lab.network import inside
from lab.state import Arch, Platform, State, load

REPO = Path(__file__).parent.parent
Done = subprocess.CompletedProcess[str]


class Lab:
    """A lab that is up. Hosts are named by their names, ``spark-01`` and so on.

    ``shelf`` names what its hosts can be given, see ``give``.
    """

    def __init__(self, state: State, shelf: str = "") -> None:
        self.state = state
        self.shelf = shelf or state.name

    @property
    def names(self) -> list[str]:
        """All hosts, in inventory order."""
        return [host.name for host in self.state.hosts]

    def run(self, host: str, command: str, *, check: bool = True, timeout: float = 120) -> Done:
        """A shell command as root on a host; with ``check`` a failure raises LabError."""
        words = hosts.ssh(self.state, self.state.host(host))
        done = self.control(*words, f"sudo -n sh -c {quote(command)}", timeout=timeout)
        if check and done.returncode != 0:
            raise LabError(f"{host}: {command!r}: exit status {done.returncode}: {done.stderr}")
        return done

    def text(self, host: str, command: str) -> str:
        """Its standard output without the last newline."""
        return self.run(host, command).stdout.rstrip("\n")

    def write(self, host: str, path: str, content: str) -> None:
        """Put a file on a host, with the directories above it."""
        words = hosts.ssh(self.state, self.state.host(host))
        script = f"mkdir -p $(dirname {path}) && cat > {path}"
        done = self.control(*words, f"sudo -n sh -c {quote(script)}", stdin=content)
        if done.returncode != 0:
            raise LabError(f"{host}: writing {path}: {done.stderr}")

    def control(self, *words: str, stdin: str = "", timeout: float = 120) -> Done:
        """A program on the control side, inside the lab's network."""
        with inside(self.state.netns):
            return subprocess.run(
                words, input=stdin, capture_output=True, text=True, timeout=timeout
            )

    def pyinfra(
        self,
        deploy: str,
        *words: str,
        data: Mapping[str, str] | None = None,
        inventory: str = "lab/inventory.py",
        timeout: float = 900,
    ) -> Done:
        """``pyinfra INVENTORY DEPLOY -y [words] [--data k=v]`` from the repository's top.

        ``stdout`` holds both streams. The process is killed after ``timeout`` seconds.
        """
        started = self.start_pyinfra(deploy, *words, data=data, inventory=inventory)
        try:
            output, _ = started.communicate(timeout=timeout)
        except subprocess.TimeoutExpired as late:
            started.kill()
            late.output, _ = started.communicate()
            raise
        return Done(started.args, started.returncode, output)

    def start_pyinfra(
        self,
        deploy: str,
        *words: str,
        data: Mapping[str, str] | None = None,
        inventory: str = "lab/inventory.py",
    ) -> subprocess.Popen[str]:
        """The same, not waited for: to be killed half way."""
        return subprocess.Popen(
            pyinfra_words(inventory, deploy, words, data or {}),
            cwd=REPO,
            env=self.environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            text=True,
        )

    def environment(self) -> dict[str, str]:
        """This process's environment, meaning this lab."""
        return {**os.environ, "LAB_NAME": self.state.name}

    def reset(self, *names: str) -> None:
        """Bare hosts again, about a second; without names all of them. Mends cables as well."""
        for name in names or self.names:
            self.mend(name)
        lifecycle.reset(self.state, *names)

    def give(self, name: str, prepare: Callable[[], object]) -> None:
        """Every host begins with what ``prepare`` makes of the first one.

        It is called once for all labs that share a shelf, and kept for hosts of this kind.
        """
        kept = keeping.place(self.shelf, self.state, name)
        with locked(kept.parent / f"{kept.name}.lock"):
            if not kept.exists():
                prepare()
                keeping.keep(self.state, self.state.hosts[0], kept)
        for host in self.names:
            self.mend(host)
        keeping.give(self.state, kept)

    def reboot(self, host: str) -> None:
        """Reboot and wait for a login."""
        hosts.reboot(self.state, self.state.host(host))

    def kill(self, host: str) -> None:
        """Cut the power."""
        hosts.kill(self.state, self.state.host(host))

    def start(self, host: str) -> None:
        """Switch on and wait for a login."""
        hosts.start(self.state, self.state.host(host))
        hosts.wait(self.state, self.state.host(host))

    def cut(self, host: str) -> None:
        """Pull the network cable."""
        network.cut(self.state, self.state.host(host))

    def mend(self, host: str) -> None:
        """Plug it in again."""
        network.mend(self.state, self.state.host(host))

    def cap(self, host: str, mbit: float) -> None:
        """Limit what its cable carries each way; 0 for no limit."""
        network.cap(self.state, self.state.host(host), mbit)

    def freeze(self, host: str) -> None:
        """The host accepts connections and answers nothing."""
        hosts.freeze(self.state, self.state.host(host))

    def thaw(self, host: str) -> None:
        """It goes on."""
        hosts.thaw(self.state, self.state.host(host))


def pyinfra_words(
    inventory: str, deploy: str, words: tuple[str, ...], data: Mapping[str, str]
) -> list[str]:
    """The command line; ``-y`` unless a dry run is asked for (pyinfra plans nothing with both)."""
    yes = [] if "--dry" in words else ["-y"]
    pairs = [word for key, value in data.items() for word in ("--data", f"{key}={value}")]
    return [sys.executable, "-m", "pyinfra", inventory, deploy, *yes, *words, *pairs]


class Keeper:
    """The one lab that a test process keeps up, changed only when a module needs another one."""

    def __init__(self, name: str, shelf: str) -> None:
        self.name = name
        self.shelf = shelf
        self.lab: Lab | None = None

    def bare(self, count: int, platform: Platform, arch: Arch) -> Lab:
        """A lab of exactly ``count`` bare hosts: inventories and rollouts mean all of them."""
        there = self.lab.state if self.lab else None
        asked = (platform, arch, count)
        if self.lab and there and (there.platform, there.arch, len(there.hosts)) == asked:
            self.lab.reset()
            return self.lab
        self.close()
        lifecycle.up(lifecycle.wanted(self.name, count, arch, platform))
        self.lab = Lab(load(self.name), self.shelf)
        return self.lab

    def close(self) -> None:
        """Take it down."""
        self.lab = None
        lifecycle.down(self.name)
