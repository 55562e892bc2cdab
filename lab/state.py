"""What a running lab is, as one JSON file: read by the CLI, the inventory, group data and tests."""

import json
import os
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from lab.command import LabError
from lab.paths import disk_dir, run_dir

Arch = Literal["amd64", "arm64"]
Platform = Literal["ubuntu", "dgx"]
CONTROL = "198.18.77.1"  # RFC 2544 test range; exists only inside the lab's own namespaces
SSH_USER = "fleet"


@dataclass(frozen=True)
class LabHost:
    """One simulated host: its name and its address on the lab's bridge."""

    name: str
    address: str


@dataclass(frozen=True)
class State:
    """A lab, from the moment ``up`` begins; ``ready`` once every host answers."""

    name: str
    arch: Arch = "amd64"
    platform: Platform = "ubuntu"
    variant: str = "spark"  # whose machine it is by DMI, see lab.face.VARIANTS
    hosts: tuple[LabHost, ...] = ()
    layers: tuple[str, ...] = ()  # read-only, topmost first: what every fresh host starts from
    names: tuple[str, ...] = ()  # host names that lead to the control side
    disk_path: str = ""  # what the hosts write
    images: dict[str, str] = field(default_factory=dict)  # "vllm-cpu" -> "name@sha256:…"
    fingerprints: dict[str, str] = field(default_factory=dict)  # "nvidia" | "toolkit" | "docker"
    ca: str = ""  # the lab CA's certificate (PEM) on the control side
    ready: bool = False

    @property
    def run(self) -> Path:
        """Run directory: key, known_hosts, logs, pids."""
        return run_dir(self.name)

    @property
    def disk(self) -> Path:
        """What the hosts write, one directory each, and the lab's own layer."""
        return Path(self.disk_path) if self.disk_path else disk_dir(self.name)

    @property
    def netns(self) -> str:
        """Namespace of the control side: bridge, gate, registry, and pyinfra while it runs."""
        return f"vllm-lab-{self.name}"

    @property
    def ssh_key(self) -> Path:
        """Private key that opens ``fleet`` on every host."""
        return self.run / "key"

    @property
    def known_hosts(self) -> Path:
        """Host keys of all hosts, by name and address."""
        return self.run / "known_hosts"

    def host(self, name: str) -> LabHost:
        """The host called ``name``, or LabError naming those there are."""
        for host in self.hosts:
            if host.name == name:
                return host
        known = ", ".join(host.name for host in self.hosts) or "none"
        raise LabError(f"lab {self.name}: no host {name!r}; hosts: {known}")


def new_hosts(count: int) -> tuple[LabHost, ...]:
    """spark-01 at .11, spark-02 at .12, …"""
    return tuple(LabHost(f"spark-{i:02d}", f"198.18.77.{10 + i}") for i in range(1, count + 1))


def save(state: State) -> State:
    """Write the state file in one rename and return the state."""
    state.run.mkdir(parents=True, exist_ok=True)
    part = state.run / "state.json.part"
    part.write_text(json.dumps(asdict(state), indent=1, sort_keys=True) + "\n")
    os.replace(part, state.run / "state.json")
    return state


def update(name: str, **changes: Any) -> State:
    """Change fields of a saved state."""
    return save(replace(load(name), **changes))


def load(name: str) -> State:
    """The state of lab ``name``, or LabError if it is not up."""
    file = run_dir(name) / "state.json"
    try:
        return parse(file.read_text())
    except FileNotFoundError:
        raise LabError(f"lab {name}: not up; start it: python -m lab up --name {name}") from None
    except (TypeError, KeyError, ValueError) as error:
        remedy = f"python -m lab down --name {name}, then up"
        raise LabError(f"{file}: not a state of this version ({error}); {remedy}") from None


def parse(text: str) -> State:
    """The state that ``save`` wrote; TypeError, KeyError or ValueError for anything else."""
    data = json.loads(text)
    hosts = tuple(LabHost(**host) for host in data.pop("hosts"))
    layers, names = tuple(data.pop("layers")), tuple(data.pop("names"))
    return State(hosts=hosts, layers=layers, names=names, **data)
