"""Cloud-init seeds that bring an empty machine to "ssh and sudo work". Pure: text in, text out.

NoCloud reads three files from a volume named CIDATA or from a web server: user-data, meta-data and
network-config. The Ubuntu Server installer reads the ``autoinstall`` part of the first
(github.com/canonical/subiquity doc/reference/autoinstall-reference.rst).
"""

from __future__ import annotations

import base64
import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from fleet import host_files
from fleet.problems import SettingsError

HOSTNAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
USER = re.compile(r"[a-z_][a-z0-9_-]{0,31}")
PUBLIC_KEY = re.compile(r"(ssh-ed25519|ecdsa-sha2-\S+|sk-\S+|ssh-rsa) [A-Za-z0-9+/=]+( .*)?")
# The default kernel of the installer does not find its own medium on a GB10; the HWE one does.
KERNEL = "linux-generic-hwe-24.04"
PACKAGES = ["ca-certificates", "curl", "gnupg", "python3"]


@dataclass(frozen=True)
class Address:
    """A fixed address with its prefix, as 192.0.2.11/24, and where everything else is reached."""

    address: str
    gateway: str
    nameservers: tuple[str, ...]


@dataclass(frozen=True)
class Machine:
    """One empty machine. Without ``fixed`` it asks DHCP; without ``mac`` any wired port will do."""

    name: str
    user: str
    public_key: str
    mac: str | None = None
    fixed: Address | None = None


def problems(machine: Machine) -> list[str]:
    """One line for each value that cannot be used."""
    wrong = []
    if not HOSTNAME.fullmatch(machine.name):
        wrong.append(f"HOST: found {machine.name!r}, allowed: a host name in lower case")
    if not USER.fullmatch(machine.user) or machine.user == "root":
        wrong.append(f"--user: found {machine.user!r}, allowed: a user name, not root")
    if not PUBLIC_KEY.fullmatch(machine.public_key):
        wrong.append("--public-key: found no public key in the file, allowed: one line of a .pub")
    if machine.mac and not re.fullmatch(r"([0-9a-f]{2}:){5}[0-9a-f]{2}", machine.mac):
        wrong.append(f"--mac: found {machine.mac!r}, allowed: a MAC address in lower case")
    if machine.fixed and not machine.mac:
        wrong.append(f"--address: found no --mac for {machine.name}, allowed: with the port's MAC")
    return wrong + (_address_problems(machine.fixed) if machine.fixed else [])


def _address_problems(fixed: Address) -> list[str]:
    try:
        network = ipaddress.ip_interface(fixed.address).network
        inside = ipaddress.ip_address(fixed.gateway) in network
        for server in fixed.nameservers:
            ipaddress.ip_address(server)
    except ValueError as error:
        return [f"--address: {error}, allowed: ADDRESS/PREFIX,GATEWAY,NAMESERVER…"]
    if "/" not in fixed.address or not inside:
        return [
            f"--address: found gateway {fixed.gateway} outside {fixed.address}, "
            "allowed: a gateway in the address's own network"
        ]
    return []


def seed(machine: Machine) -> dict[str, str]:
    """File name → text; raises SettingsError when a value cannot be used."""
    if wrong := problems(machine):
        raise SettingsError(*wrong)
    network = _network(machine)
    return {
        "user-data": "#cloud-config\n" + _yaml({"autoinstall": _autoinstall(machine, network)}),
        "meta-data": _yaml({"instance-id": machine.name, "local-hostname": machine.name}),
        "network-config": _yaml(network),
    }


def first_boot(machine: Machine) -> dict[str, Any]:
    """What cloud-init does when the installed system boots for the first time."""
    return {
        "hostname": machine.name,
        "ssh_pwauth": False,
        "disable_root": True,
        "users": [
            {
                "name": machine.user,
                "shell": "/bin/bash",
                "sudo": "ALL=(ALL) NOPASSWD:ALL",
                "lock_passwd": True,
                "ssh_authorized_keys": [machine.public_key],
            }
        ],
    }


def _autoinstall(machine: Machine, network: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "version": 1,
        "refresh-installer": {"update": False},
        "network": dict(network),
        # Else the installer makes a root of 100 GiB and leaves the rest of the disk alone.
        "storage": {"layout": {"name": "lvm", "sizing-policy": "all"}},
        "kernel": {"package": KERNEL},
        "ssh": {"install-server": True, "allow-pw": False},
        "packages": PACKAGES,
        "user-data": first_boot(machine),
        # The installer itself may take longer than firmware waits; without the driver it goes on.
        "early-commands": ["modprobe sbsa_gwdt || true"],
        "late-commands": _watchdog(),
        "shutdown": "reboot",
    }


def _watchdog() -> list[str]:
    """Before anything else: until its driver is loaded, firmware resets the machine."""
    commands = []
    for path, text in host_files.watchdog().items():
        packed = base64.b64encode(text.encode()).decode()
        commands.append(f"echo {packed} | base64 -d > /target{path}")
        commands.append(f"curtin in-target -- systemctl enable {Path(path).name}")
    return commands


def _network(machine: Machine) -> dict[str, Any]:
    """netplan, version 2. Ports without a cable must not hold up the boot."""
    match = {"macaddress": machine.mac} if machine.mac else {"name": "en*"}
    port: dict[str, Any] = {"match": match, "optional": True}
    if machine.fixed is None:
        port["dhcp4"] = True
    else:
        port |= {
            "dhcp4": False,
            "addresses": [machine.fixed.address],
            "routes": [{"to": "default", "via": machine.fixed.gateway}],
            "nameservers": {"addresses": list(machine.fixed.nameservers)},
        }
    return {"version": 2, "ethernets": {"management": port}}


def _yaml(value: object) -> str:
    return yaml.safe_dump(value, sort_keys=False, width=1000)
