"""Whether a host is still there, asked beside whatever it was told to do.

A host that froze keeps its connections: its kernel acknowledges what no program reads, so neither
TCP nor a command that runs would ever end. sshd itself has to answer here.
"""

from __future__ import annotations

from weakref import WeakKeyDictionary

import gevent
from gevent.lock import BoundedSemaphore
from paramiko import SSHException, Transport

EVERY_S = 10
ANSWER_S = 35  # over which the connection is given up; whoever waits for it hears that it broke
REQUEST = "keepalive@openssh.com"  # unknown to the other side, or not: it has to answer

_locks: WeakKeyDictionary[Transport, BoundedSemaphore] = WeakKeyDictionary()


def alone(transport: Transport) -> BoundedSemaphore:
    """Held while a connection is asked a global request: paramiko takes the next answer for the
    answer to all that wait."""
    return _locks.setdefault(transport, BoundedSemaphore())


def watch(transport: Transport) -> None:
    """Close ``transport`` once the host does not answer any more."""
    gevent.spawn(_beat, transport)


def _beat(transport: Transport) -> None:
    while transport.is_active():
        gevent.sleep(EVERY_S)
        asked = gevent.spawn(_ask, transport)
        # Seconds of this process: one that was suspended has not waited.
        if not any(_ended(asked) for _ in range(ANSWER_S)):
            transport.close()


def _ended(asked: gevent.Greenlet[[Transport], None]) -> bool:
    asked.join(timeout=1)
    return bool(asked.ready())


def _ask(transport: Transport) -> None:
    try:
        with alone(transport):
            transport.global_request(REQUEST, wait=True)
    except (SSHException, OSError, EOFError):
        return  # it is closed already
