"""Who listens, who is connected, what the firewall holds."""

import functools
import glob
import ipaddress
import os
import re
import subprocess
from collections.abc import Iterable
from typing import Any

import tcp_table
from facts import assignments, finish, text, text_or_none


def listeners(ports: Iterable[int]) -> list[dict[str, Any]]:
    """Who listens on `ports`: process, command, and the control group that tells a container."""
    found = [
        (row[9], int(row[1].split(":")[1], 16)) for row in tcp() if row[3] == tcp_table.LISTENS
    ]
    return [{"port": port, **owner(inode)} for inode, port in found if port in set(ports)]


def ssh_peers() -> list[str]:
    """Addresses that hold a connection to this host's port 22: we are one of them."""
    rows = [row for row in tcp() if row[3] == "01" and row[1].endswith(":0016")]
    return sorted({address(row[2].split(":")[0]) for row in rows})


def address(packed: str) -> str:
    """/proc/net/tcp's form: 32-bit words in the machine's own byte order."""
    words = [bytes.fromhex(packed[i : i + 8])[::-1] for i in range(0, len(packed), 8)]
    found = ipaddress.ip_address(b"".join(words))
    mapped = found.ipv4_mapped if isinstance(found, ipaddress.IPv6Address) else None
    return str(mapped or found)


@functools.cache
def tcp() -> list[list[str]]:
    """All sockets, as they were when first asked for."""
    return [words for _, words in tcp_table.rows()]


def owner(inode: str) -> dict[str, Any]:
    for link in glob.iglob("/proc/[0-9]*/fd/*"):
        try:
            if os.readlink(link) == f"socket:[{inode}]":
                pid = link.split("/")[2]
                command = text(f"/proc/{pid}/cmdline").replace("\0", " ")
                return {"pid": int(pid), "cmd": command, "cgroup": text(f"/proc/{pid}/cgroup")}
        except OSError:  # the process ended while it was being read
            continue
    return {"pid": None, "cmd": None, "cgroup": None}


def firewall(listing: subprocess.Popen[str] | None) -> str | None:
    """The comment of our own nftables table, which tells its rules apart; null when not loaded."""
    found = re.search(r'^\s*comment "(\w+)"', finish(listing)[1], re.MULTILINE) if listing else None
    return found[1] if found else None


def ufw() -> bool:
    """Ubuntu's own firewall is switched on."""
    return assignments(text_or_none("/etc/ufw/ufw.conf") or "").get("ENABLED") == "yes"
