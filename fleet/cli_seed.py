"""``fleet seed``: files for machines that have no system yet."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fleet.problems import SettingsError
from fleet.seed import Address, Machine, seed


def add(commands: Any) -> None:
    """Add the command to ``commands``."""
    parser = commands.add_parser(
        "seed",
        help="cloud-init seeds that bring an empty machine to 'ssh and sudo work'",
        description="Writes FOLDER/HOST/{user-data,meta-data,network-config} for Ubuntu Server's "
        "installer. Put the three on a volume named CIDATA, or serve them over HTTP and boot with "
        "'autoinstall ds=nocloud;s=http://SERVER/HOST/'. THE DISK OF THE MACHINE IS ERASED.",
        allow_abbrev=False,
    )
    parser.add_argument("hosts", nargs="+", metavar="HOST", help="name of a machine")
    parser.add_argument("--user", default="fleet", help="automation user (default: fleet)")
    parser.add_argument(
        "--public-key", type=Path, default=Path("~/.ssh/id_ed25519.pub"), metavar="FILE"
    )
    parser.add_argument("--mac", action="append", default=[], metavar="HOST=MAC")
    parser.add_argument(
        "--address",
        action="append",
        default=[],
        metavar="HOST=ADDRESS/PREFIX,GATEWAY,NAMESERVER",
        help="instead of DHCP; needs --mac",
    )
    parser.add_argument("--out", type=Path, default=Path("seed"), metavar="FOLDER")
    parser.set_defaults(run=_seed)


def _seed(options: argparse.Namespace) -> int:
    macs = _by_host("--mac", options.mac, options.hosts)
    addresses = _by_host("--address", options.address, options.hosts)
    key = _key(options.public_key.expanduser())
    machines = [
        Machine(name, options.user, key, macs.get(name), _address(addresses.get(name)))
        for name in dict.fromkeys(options.hosts)
    ]
    texts = {machine.name: seed(machine) for machine in machines}  # all are right, or none is made
    for name, files in texts.items():
        _write(options.out / name, files)
        print(f"{options.out / name}: {', '.join(files)}")
    return 0


def _write(folder: Path, files: Mapping[str, str]) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for file, text in files.items():
            (folder / file).write_text(text)
    except OSError as error:
        raise SettingsError(
            f"--out: found {folder.parent}, {error.strerror}; allowed: a folder to write in"
        ) from None


def _key(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError as error:
        raise SettingsError(
            f"--public-key: found {path}, {error.strerror}; allowed: a public key file"
        ) from None


def _by_host(option: str, words: list[str], hosts: list[str]) -> dict[str, str]:
    """HOST=VALUE words; SettingsError for a host that is not asked for."""
    pairs = dict(word.partition("=")[::2] for word in words)
    if unknown := sorted(set(pairs) - set(hosts)):
        raise SettingsError(f"{option}: found {unknown[0]!r}, allowed: {', '.join(hosts)}")
    return pairs


def _address(text: str | None) -> Address | None:
    if text is None:
        return None
    address, gateway, *servers = [*text.split(","), ""]
    return Address(address, gateway, tuple(server for server in servers if server))
