"""Commands of ``python -m lab``."""

import argparse
import json
import os
import shlex
import sys
from collections.abc import Callable
from typing import Any

from rich.console import Console
from rich.table import Table

from lab import demo, face, hosts, lifecycle, machine, network
from lab.command import LabError
from lab.paths import RUN, check_name, default_name
from lab.state import State, load

Command = Callable[[argparse.Namespace], int]


def main(argv: list[str] | None = None) -> int:
    """Run one command; a mistake or a failure is one line on standard error and exit status 1."""
    arguments = parser().parse_args(argv)
    try:
        arguments.only = arguments.name and check_name(arguments.name)
        arguments.name = arguments.only or default_name()
        command: Command = arguments.command
        return command(arguments)
    except LabError as error:
        print(f"lab: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


def parser() -> argparse.ArgumentParser:
    """Every command with its help text."""
    top = argparse.ArgumentParser(prog="python -m lab", description="Simulated GB10 hosts.")
    commands = top.add_subparsers(required=True, metavar="COMMAND")

    def add(name: str, command: Command, help_text: str) -> argparse.ArgumentParser:
        one = commands.add_parser(name, help=help_text, description=help_text)
        one.add_argument("--name", help="which lab (default: $LAB_NAME, else lab)")
        one.set_defaults(command=command)
        return one

    add_up(add("up", up, "boot hosts; the same lab again is no change"))
    add("down", down, "take the lab away without a trace")
    showing = add("demo", demonstrate, "boot bare hosts, deploy to them, show what they answer")
    showing.add_argument("--hosts", type=int, default=2, metavar="N", help="how many (default: 2)")
    listing = add("list", show, "hosts of all labs that are up, or of one")
    listing.add_argument("--json", action="store_true", help="for programs")
    add("check", check, "say why this machine cannot host the lab, if so")
    add_remote(add("ssh", ssh, "log in to a host, or run a command there"), "HOST")
    add_remote(add("exec", execute, "run a program on the control side, inside the lab's network"))
    for name, action, help_text in HOST_COMMANDS:
        one = add(name, on_host(action), help_text)
        one.add_argument("host", metavar="HOST")
    return top


def add_up(one: argparse.ArgumentParser) -> None:
    """Options of ``up``."""
    one.add_argument("--hosts", type=int, default=2, metavar="N", help="how many (default: 2)")
    one.add_argument("--arch", choices=["amd64", "arm64"], default="amd64", help="their userland")
    one.add_argument(
        "--platform",
        choices=["ubuntu", "dgx"],
        default="ubuntu",
        help="bare Ubuntu 24.04, or DGX OS 7 with driver, toolkit and Docker (default: ubuntu)",
    )
    one.add_argument(
        "--variant", choices=sorted(face.VARIANTS), default="spark", help="whose machine, by DMI"
    )


def add_remote(one: argparse.ArgumentParser, host: str = "") -> None:
    """A host, if one is meant, and the words of a command."""
    if host:
        one.add_argument("host", metavar=host)
    one.add_argument("words", nargs=argparse.REMAINDER, metavar="-- COMMAND")


def up(arguments: argparse.Namespace) -> int:
    """Boot, then show what there is."""
    state = lifecycle.up(
        lifecycle.wanted(
            arguments.name,
            arguments.hosts,
            arguments.arch,
            arguments.platform,
            arguments.variant,
        )
    )
    print_table([state])
    return 0


def down(arguments: argparse.Namespace) -> int:
    """Take away."""
    lifecycle.down(arguments.name)
    return 0


def demonstrate(arguments: argparse.Namespace) -> int:
    """From nothing to an answer."""
    return demo.run(arguments.name, arguments.hosts)


def check(arguments: argparse.Namespace) -> int:
    """Exit status 1 and the reasons if the lab cannot run here."""
    found = machine.problems()
    print("\n".join(found) or "this machine can host the lab")
    return 1 if found else 0


def show(arguments: argparse.Namespace) -> int:
    """A table, or JSON: one object a host."""
    states = [load(arguments.only)] if arguments.only else labs()
    if arguments.json:
        print(json.dumps([row for state in states for row in rows(state)], indent=1))
    else:
        print_table(states)
    return 0


def labs() -> list[State]:
    """All labs that are up or coming up."""
    return [load(file.parent.name) for file in sorted(RUN.glob("*/state.json"))]


def rows(state: State) -> list[dict[str, Any]]:
    """What a program wants to know of every host."""
    return [
        {
            "lab": state.name,
            "host": host.name,
            "address": host.address,
            "arch": state.arch,
            "platform": state.platform,
            "running": hosts.running(state, host),
            "ready": state.ready,
            "netns": state.netns,
            "ssh": shlex.join(hosts.ssh(state, host)),
        }
        for host in state.hosts
    ]


def print_table(states: list[State]) -> None:
    """One line a host."""
    table = Table("lab", "host", "address", "platform", "arch", "power", box=None)
    for row in (row for state in states for row in rows(state)):
        power = "on" if row["running"] else "off"
        table.add_row(row["lab"], row["host"], row["address"], row["platform"], row["arch"], power)
    Console().print(table if table.row_count else "no lab is up; start one: python -m lab up")


def ssh(arguments: argparse.Namespace) -> int:
    """Become ssh, inside the lab's network."""
    state = load(arguments.name)
    return become(state, [*hosts.ssh(state, state.host(arguments.host)), *words(arguments)])


def execute(arguments: argparse.Namespace) -> int:
    """Become the given program, inside the lab's network."""
    command = words(arguments)
    if not command:
        raise LabError("exec: no command given; usage: python -m lab exec -- COMMAND")
    return become(load(arguments.name), command)


def words(arguments: argparse.Namespace) -> list[str]:
    """The command after ``--``."""
    given: list[str] = arguments.words
    return given[1:] if given[:1] == ["--"] else given


def become(state: State, command: list[str]) -> int:
    """Replace this process by a program in the lab's network namespace."""
    network.enter(state.netns)
    try:
        os.execvp(command[0], command)
    except OSError as error:
        raise LabError(f"{command[0]}: {error.strerror}") from error


def on_host(action: Callable[[State, Any], None]) -> Command:
    """A command that does something to one host."""

    def command(arguments: argparse.Namespace) -> int:
        state = load(arguments.name)
        action(state, state.host(arguments.host))
        return 0

    return command


def reboot(state: State, host: Any) -> None:
    """Ask the host to reboot, and wait until it is back."""
    hosts.reboot(state, host)


def start(state: State, host: Any) -> None:
    """Switch on, and wait until it answers."""
    hosts.start(state, host)
    hosts.wait(state, host)


HOST_COMMANDS: tuple[tuple[str, Callable[[State, Any], None], str], ...] = (
    ("reboot", reboot, "reboot a host and wait until it answers"),
    ("kill", hosts.kill, "cut a host's power"),
    ("start", start, "switch a host on again"),
    (
        "freeze",
        hosts.freeze,
        "stop a host where it stands: it accepts connections, nothing answers",
    ),
    ("thaw", hosts.thaw, "let a frozen host go on"),
    ("cut", network.cut, "pull a host's network cable"),
    ("mend", network.mend, "plug a host's network cable in again"),
)
