"""One model cache for many hosts, over NFS: the address, the mount, the export. Pure."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import AfterValidator, Field, ValidationInfo, field_validator

from fleet.host_files import UNITS
from fleet.strict import Strict
from fleet.words import Networks

EXPORTS = "/etc/exports.d/vllm-fleet.exports"
DROP_IN = f"{UNITS}/vllm.service.d/50-vllm-fleet-cache.conf"
CLIENT, SERVER = "nfs-common", "nfs-kernel-server"
SERVER_UNIT = "nfs-server.service"
PORT = 2049
_URL = re.compile(r"nfs://(?P<server>[A-Za-z0-9][A-Za-z0-9.-]{0,252})(?P<path>(/[A-Za-z0-9._-]+)+)")
# hard: a server that is away for a while costs time, not wrong data. noexec does not keep vLLM from
# reading. nconnect: one TCP stream does not fill a fast link.
OPTIONS = (
    *("nfsvers=4.2", "proto=tcp", "hard", "timeo=150", "retrans=2", "rsize=1048576"),
    *("wsize=1048576", "nconnect=8", "noatime", "nodev", "nosuid", "noexec", "_netdev"),
)


def _url(value: str) -> str:
    if not _URL.fullmatch(value) or ".." in value:
        raise ValueError("allowed: nfs://SERVER/PATH, such as nfs://192.0.2.10/srv/models")
    return value


class CacheSettings(Strict):
    """A cache that hosts share."""

    cache: Annotated[str, AfterValidator(_url)] | None = Field(
        default=None,
        description="nfs://SERVER/PATH: the hosts mount it at models_dir instead of keeping "
        "weights of their own. Default: each host has its own cache",
    )
    cache_server: str | None = Field(
        default=None,
        description="The host of the fleet that exports its own models_dir for the others; "
        "without it the server is not ours",
    )
    cache_clients: Networks = Field(
        default=(),
        validate_default=True,
        description="Networks that cache_server exports to, ['192.0.2.0/24']",
    )

    @field_validator("cache_server")
    @classmethod
    def _of_a_cache(cls, value: str | None, info: ValidationInfo) -> str | None:
        if value and info.data.get("cache", value) is None:  # absent where it is wrong itself
            raise ValueError(
                "allowed: with cache only, the nfs://SERVER/PATH where the others mount the export"
            )
        return value

    @field_validator("cache_clients")
    @classmethod
    def _of_a_server(cls, value: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        if info.data.get("cache_server") and not value:
            raise ValueError(
                "allowed: the networks of the hosts that mount what cache_server has, "
                "['192.0.2.0/24']"
            )
        return value


def source(cache: str) -> tuple[str, str]:
    """Server and path of nfs://SERVER/PATH."""
    found = _URL.fullmatch(cache)
    if found is None:
        raise ValueError(cache)
    return found["server"], found["path"]


def unit_name(path: str) -> str:
    """systemd's name of the mount unit for ``path``; what ``systemd-escape --path`` says."""
    parts = path.strip("/")
    escaped = "".join(
        "-"
        if char == "/"
        else char
        if (char.isascii() and char.isalnum()) or char in ":_" or (char == "." and number)
        else f"\\x{ord(char):02x}"
        for number, char in enumerate(parts)
    )
    return f"{escaped}.mount"


def mount_files(cache: str, models_dir: str) -> dict[str, str]:
    """The mount unit, and what makes the server wait for it."""
    server, path = source(cache)
    unit = f"""\
# Written by vllm-fleet: a change here is lost.
[Unit]
Description=Model cache of the fleet, {cache}

[Mount]
What={server}:{path}
Where={models_dir}
Type=nfs
Options={",".join(OPTIONS)}
TimeoutSec=60

[Install]
WantedBy=remote-fs.target
"""
    drop_in = f"""\
# Written by vllm-fleet: a change here is lost.
[Unit]
RequiresMountsFor={models_dir}
"""
    return {f"{UNITS}/{unit_name(models_dir)}": unit, DROP_IN: drop_in}


def exports(models_dir: str, clients: tuple[str, ...]) -> str:
    """The export: clients write as root, because the one that downloads is one of them."""
    options = "rw,sync,no_subtree_check,no_root_squash"
    lines = "".join(f"{models_dir} {client}({options})\n" for client in clients)
    return f"# Written by vllm-fleet: a change here is lost.\n{lines}"
