"""A converge that has nothing to do: ours and Ansible's, on the same hosts, in turns.

    python benchmarks/converge.py [--hosts 1 20] [--rounds 5] [--ansible-rounds 3 1]
                                  [--ansible-python PYTHON]              # Linux, root, the lab

Deploys the stand-in image to one lab host, gives what that host then holds to all others, and runs
``pyinfra lab/inventory.py deploy.py -y`` and benchmarks/ansible/playbook.yaml over it. Wall time
and processor time are those of the command with all that it started and waited for; remote
commands are what the hosts' own sshd counted. Lab hosts share this machine's cores: their part is
what the machine was busy beside the command; for several hosts ours is run once more with answers
that cost no processor time (benchmarks/replay.py). ansible-core is the newest that PYTHON (this one
unless told) can run.
"""

from __future__ import annotations

import argparse
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

import ansible_side
import replay

from lab import keeping, lifecycle
from lab.network import inside
from lab.state import load
from lab.testing import REPO, Lab, pyinfra_words

NAME = os.environ.get("LAB_NAME", "converge")
KEPT = "converged"
STANDIN = "vllm-standin"
VERBOSE = "/etc/ssh/sshd_config.d/verbose.conf"  # sshd then tells every command it runs
SESSIONS = "journalctl -q -t sshd-session -o cat | grep -c 'Starting session: command' || true"
DRIFT = "/etc/sysctl.d/90-vllm-fleet.conf"
LAST_TASK = "The server counts"
SETTLE_S = 180


@dataclass
class Side:
    """One of the two: its command, and whether its output says that nothing was changed."""

    name: str
    argv: list[str]
    unchanged: Callable[[str, int], bool]
    wall: list[float] = field(default_factory=list)
    processor: list[float] = field(default_factory=list)
    hosts: list[float] = field(default_factory=list)
    commands: list[int] = field(default_factory=list)


def ran(lab: Lab, side: Side, *more: str) -> tuple[float, float, str]:
    """Wall and processor seconds, and what it said."""
    ours = {"LAB_NAME": lab.state.name, "ANSIBLE_CONFIG": str(ansible_side.HERE / "ansible.cfg")}
    left_out = ("PYTHONDONTWRITEBYTECODE", "PYTHONUNBUFFERED")  # neither side runs so at a user's
    environment = {k: v for k, v in os.environ.items() if k not in left_out}
    with tempfile.TemporaryFile("w+") as said, inside(lab.state.netns):
        began = time.monotonic()
        process = subprocess.Popen(
            [*side.argv, *more], cwd=REPO, env={**environment, **ours},
            stdin=subprocess.DEVNULL, stdout=said, stderr=subprocess.STDOUT,
        )  # fmt: skip
        _, status, used = os.wait4(process.pid, 0)
        wall = time.monotonic() - began
        process.returncode = os.waitstatus_to_exitcode(status)
        said.seek(0)
        output = said.read()
    if process.returncode != 0:
        sys.exit(f"{side.name}: exit status {process.returncode}\n{output[-4000:]}")
    return wall, used.ru_utime + used.ru_stime, output


def measure(lab: Lab, side: Side) -> None:
    """One run that changes nothing, and what it cost."""
    before = counted(lab)
    idle = busy()
    wall, processor, output = ran(lab, side)
    worked = busy() - idle
    after = counted(lab)
    if not side.unchanged(output, len(lab.names)):
        sys.exit(f"{side.name}: it changed something\n{output[-4000:]}")
    side.wall.append(wall)
    side.processor.append(processor)
    side.hosts.append(worked - processor)
    side.commands += [after[host] - before[host] - 1 for host in lab.names]  # 1: the counting


def busy() -> float:
    """Processor seconds that this machine has worked so far, on anything."""
    ticks = list(map(int, Path("/proc/stat").read_text().split("\n")[0].split()[1:9]))
    return (sum(ticks) - ticks[3] - ticks[4]) / os.sysconf(
        "SC_CLK_TCK"
    )  # idle, and idle for a disk


def counted(lab: Lab) -> dict[str, int]:
    """The commands that each host's sshd has run so far, this one too."""
    return {host: int(lab.text(host, SESSIONS)) for host in lab.names}


def ours_unchanged(output: str, hosts: int) -> bool:
    words = re.findall(r"Grand total +(\d+) +(\S+)", output)[-1]
    return words[1] == "-" and output.count("serving") >= 1


def theirs_unchanged(output: str, hosts: int) -> bool:
    recap = re.findall(r"ok=\d+ +changed=(\d+) +unreachable=(\d+) +failed=(\d+)", output)
    return len(recap) == hosts and all(row == ("0", "0", "0") for row in recap)


def mends(lab: Lab, side: Side) -> None:
    """It finds a line that somebody has added to a file: so it does check."""
    host = lab.names[-1]
    lab.run(host, f"echo '# edited' >> {DRIFT}")
    _, _, output = ran(lab, side)
    left = lab.run(host, f"grep edited {DRIFT}", check=False).stdout
    if side.unchanged(output, len(lab.names)) or left:
        sys.exit(f"{side.name}: {DRIFT} was edited, and it did not mend it\n{output[-4000:]}")


def brought_up(count: int) -> Lab:
    """So many hosts that all hold what one was left with by deploy.py, and serve."""
    lifecycle.up(lifecycle.wanted(NAME, count))
    lab = Lab(load(NAME))
    lab.give(KEPT, lambda: deployed(lab))
    end = time.monotonic() + SETTLE_S
    for host in lab.names:
        while lab.run(host, "systemctl is-active vllm", check=False).stdout.strip() != "active":
            if time.monotonic() > end:
                sys.exit(f"{host}: vllm.service is not up after {SETTLE_S} s")
            time.sleep(1)
    return lab


def deployed(lab: Lab) -> None:
    """The first host serves, its sshd counts, and Ansible's apt module finds what it needs."""
    host = lab.names[0]
    data = {"vllm_image": lab.state.images[STANDIN]}
    done = lab.pyinfra("deploy.py", "--limit", host, data=data)
    if done.returncode != 0:
        sys.exit(done.stdout[-4000:])
    lab.write(host, VERBOSE, "LogLevel VERBOSE\n")
    lab.run(host, "apt-get -q install -y --no-install-recommends python3-apt", timeout=600)


def compared(count: int, rounds: int, options: argparse.Namespace) -> list[str]:
    """The rows of one size of fleet; Ansible takes part in the first ``rounds``."""
    lab = brought_up(count)
    image = lab.state.images[STANDIN]
    with tempfile.TemporaryDirectory() as name:
        playbook = ansible_side.installed(options.ansible_python) / "ansible-playbook"
        arguments = ansible_side.prepared(lab, Path(name), image)
        theirs = Side("Ansible", [str(playbook), *arguments], theirs_unchanged)
        words = pyinfra_words("lab/inventory.py", "deploy.py", (), {"vllm_image": image})
        ours = Side("ours", words, ours_unchanged)
        ran(lab, ours)  # for the bytecode
        ran(lab, theirs, "--start-at-task", LAST_TASK)  # and the connections, which stay open
        for number in range(options.rounds):
            measure(lab, ours)
            if number < rounds:
                measure(lab, theirs)
        for side in (ours, theirs) if count == options.hosts[0] else ():
            mends(lab, side)
        alone = replayed(lab, words, options.rounds) if count > 1 else []
    lifecycle.down(NAME)
    ratio = statistics.median(theirs.wall) / statistics.median(ours.wall)
    return [row(count, ours, ""), *alone, row(count, theirs, f"{ratio:.1f}")]


def replayed(lab: Lab, words: list[str], rounds: int) -> list[str]:
    """The row of ours where hosts do not share processors."""
    side = Side("ours, hosts' answers replayed", words, ours_unchanged)
    replay.install(lab, lambda host: ran(lab, side, "--limit", host))
    print(f"replayed: {replay.times(lab)}", file=sys.stderr)
    for _ in range(rounds):
        measure(lab, side)
    return [row(len(lab.names), side, "")]


def row(count: int, side: Side, ratio: str) -> str:
    walls = " / ".join(f"{value:.2f}" for value in side.wall)
    processor, hosts = statistics.median(side.processor), statistics.median(side.hosts)
    few, many = min(side.commands), max(side.commands)
    commands = f"{few}" if few == many else f"{few}-{many}"
    figures = (side.name, walls, f"{processor:.2f}", f"{hosts:.2f}", commands, ratio)
    return f"| {count} | {' | '.join(figures)} |"


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--hosts", type=int, nargs="+", default=[1, 20])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--ansible-rounds", type=int, nargs="+", default=[3, 1])
    parser.add_argument("--ansible-python", default=sys.executable)
    options = parser.parse_args()
    try:
        print("| hosts | | wall s | processor s | hosts' | remote commands a host | times |")
        print("| --- | --- | --- | --- | --- | --- | --- |", flush=True)
        for count, rounds in zip(options.hosts, options.ansible_rounds, strict=True):
            print("\n".join(compared(count, rounds, options)), flush=True)
    finally:
        lifecycle.down(NAME)
        keeping.forget(NAME)


if __name__ == "__main__":
    main()
