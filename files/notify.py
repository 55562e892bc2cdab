"""sd_notify(3): what a service tells systemd."""

from __future__ import annotations

import os
import socket


def notify(**fields: object) -> bool:
    """Send ``KEY=value`` lines to systemd; False when no systemd listens."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address:
        return False
    message = "\n".join(f"{key}={value}" for key, value in fields.items())
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock:
        sock.connect("\0" + address[1:] if address.startswith("@") else address)
        sock.sendall(message.encode())
    return True


def status(text: str, *, extend_s: float = 0.0) -> None:
    """Show ``text`` in ``systemctl status``; ask for ``extend_s`` seconds beyond a time limit.

    Who asks lives: WatchdogSec, which goes on while a head drains that nobody told to stop, begins
    anew.
    """
    if extend_s:
        notify(STATUS=text, EXTEND_TIMEOUT_USEC=int(extend_s * 1_000_000), WATCHDOG=1)
    else:
        notify(STATUS=text)
