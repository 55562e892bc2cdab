"""The ranks of a replica watch each other: they start together, and when one dies all begin anew.

Each serve.py answers on its rank's address with one JSON line and asks the others every second. A
survivor of a dead rank hangs in its next collective with /health 200, so it must not live on.
"""

from __future__ import annotations

import contextlib
import json
import socket
import socketserver
import threading
import time
import uuid
from collections.abc import Callable
from typing import Any

import journal
from cluster import Rank, Replica
from errors import HostError
from release import Release

ASK_S = 1.0
ANSWER_S = 3.0
DEAD_S = 15.0  # without an answer; a host short of memory stalls for seconds and lives
REFUSED = 3  # answers in a row that nobody listens: its serve.py is gone
APART_S = 60.0  # with another release and no switch under way there
BACK_S = 5.0  # the other one is going back: it will not come to ours
SILENT_S = 120.0  # in a switch, for a host that gives no sign of life
LINGER_S = 2 * ASK_S + 0.5  # so that the others hear why this rank ends
GOING_BACK = ("reverting", "restarting", "regating")
Answer = dict[str, Any]


class Apart(HostError):
    """The other hosts will not come to this release."""


def course() -> str:
    """How an activation on this host stands: forward, back, or "" if none is under way."""
    activation = journal.load()
    if activation is None or activation.outcome:
        return ""
    return "back" if activation.phase in GOING_BACK else "forward"


def patience(ours: str, release: str, said: Answer) -> float | None:
    """Seconds to wait for a host that ``said`` this ({}: nothing); None: as long as it takes.

    ``ours`` is this host's course; one that switches cannot wait for ever: it has to go back.
    """
    if ours != "forward" or said.get("release") == release:
        return None
    if not said:
        return SILENT_S
    return {"forward": None, "back": BACK_S}.get(str(said["course"]), APART_S)


class Peer:
    """Another rank, asked in the background."""

    def __init__(self, rank: Rank, port: int) -> None:
        self.rank = rank
        self.answer: Answer = {}
        self.seen_at = time.monotonic()
        self.refused = 0
        self._port = port
        threading.Thread(target=self._follow, daemon=True).start()

    @property
    def silent_s(self) -> float:
        """Seconds since the last answer."""
        return time.monotonic() - self.seen_at

    @property
    def gone(self) -> bool:
        """No sign of life: the host, its network or its serve.py."""
        return self.refused >= REFUSED or self.silent_s > DEAD_S

    def _follow(self) -> None:
        while True:
            begun = time.monotonic()
            try:
                self.answer = ask(self.rank.address, self._port)
                self.seen_at, self.refused = time.monotonic(), 0
            except ConnectionRefusedError:
                self.refused += 1
            except (OSError, ValueError):
                pass  # silence is judged by its length
            time.sleep(max(ASK_S - (time.monotonic() - begun), 0.05))


def ask(address: str, port: int) -> Answer:
    """What the rank there says; OSError or ValueError where it says nothing that makes sense."""
    with socket.create_connection((address, port), timeout=ANSWER_S) as sock:
        sock.settimeout(ANSWER_S)
        said = sock.makefile("rb").readline(65536)
    found = json.loads(said)
    if not isinstance(found, dict):
        raise ValueError("no object")
    return found


class Team:
    """This rank among the others. ``state``: waiting, up, ready, leaving, failed."""

    def __init__(self, release: Release, replica: Replica, rank: Rank) -> None:
        self.release = release
        self.replica = replica
        self.rank = rank
        self.life = uuid.uuid4().hex
        self.state = "waiting"
        self.reason = ""
        self.gate: dict[str, Any] | None = None
        self.pins: dict[str, str] = {}
        self._listen()
        others = [one for one in replica.ranks if one.number != rank.number]
        self.peers = [Peer(one, replica.beat_port) for one in others]
        self._apart: dict[str, float] = {}

    @property
    def is_head(self) -> bool:
        """Whether this rank has the API."""
        return self.rank.number == 0

    @property
    def head(self) -> Peer:
        """The head, for a worker."""
        return self.peers[0]

    def told(self) -> Answer:
        """What the other ranks hear from this one."""
        return {
            "release": self.release.digest,
            "rank": self.rank.number,
            "life": self.life,
            "state": self.state,
            "reason": self.reason,
            "pins": self.pins,
            "course": course(),
            "gate": self.gate,
        }

    def _listen(self) -> None:
        team = self

        class Handler(socketserver.StreamRequestHandler):
            timeout = ANSWER_S

            def handle(self) -> None:
                with contextlib.suppress(OSError):
                    self.wfile.write(json.dumps(team.told()).encode() + b"\n")

        class Server(socketserver.ThreadingTCPServer):
            allow_reuse_address = True
            daemon_threads = True

        place = (self.rank.address, self.replica.beat_port)
        try:
            server = Server(place, Handler)
        except OSError as error:
            raise HostError(
                f"{place[0]}:{place[1]} cannot be bound ({error.strerror}); find who holds it: "
                f"ss -ltnp sport = :{place[1]}"
            ) from None
        threading.Thread(target=server.serve_forever, daemon=True).start()

    def gather(self, stop: threading.Event, tell: Callable[[str], None]) -> None:
        """Return when all others are there for the same release; workers are up before the head.

        From then on their lives are pinned. Raises Apart in a switch that the others do not take.
        """
        while not stop.is_set():
            missing = [line for peer in self.peers if (line := self._missing(peer))]
            if not missing:
                self.pins = {str(p.rank.number): str(p.answer["life"]) for p in self.peers}
                self.state = "up"
                return
            self._give_up(missing)
            tell(f"waiting for {'; '.join(missing)}")
            stop.wait(ASK_S / 2)

    def _missing(self, peer: Peer) -> str:
        """Why the start has to wait for this rank; "" if it has not."""
        host, said = peer.rank.host, peer.answer
        if peer.gone or not said:
            return f"{host}, which gives no sign of life"
        if said["release"] != self.release.digest:
            return f"{host}, which has release {said['release']}"
        if said["state"] not in ("waiting", "up"):
            return f"{host}, which is {said['state']}"
        mine = said["pins"].get(str(self.rank.number))
        if mine not in (None, self.life):
            return f"{host}, which has to begin anew"
        return f"{host} to start first" if self.is_head and mine is None else ""

    def _give_up(self, missing: list[str]) -> None:
        """Raise Apart where waiting leads nowhere. Outside of a switch it may last for ever."""
        now = time.monotonic()
        for peer in self.peers:
            limit = patience(course(), self.release.digest, {} if peer.gone else peer.answer)
            if limit is None:
                self._apart.pop(peer.rank.host, None)
            elif now - self._apart.setdefault(peer.rank.host, now) > limit:
                raise Apart(f"replica {self.replica.name}: waited for {'; '.join(missing)}")

    def fault(self) -> str:
        """Why this rank cannot go on because of another one; "" if it can."""
        for peer in self.peers:
            host, said = peer.rank.host, peer.answer
            if peer.gone:
                return f"{host} (rank {peer.rank.number}) gives no sign of life"
            if said["state"] == "failed":
                return f"{host} (rank {peer.rank.number}): {said['reason']}"
            if said["life"] != self.pins[str(peer.rank.number)]:
                return f"{host} (rank {peer.rank.number}) began anew"
        return ""

    def leaver(self) -> str:
        """The host that was told to stop, if one was."""
        return next((p.rank.host for p in self.peers if p.answer["state"] == "leaving"), "")

    def head_lives(self) -> bool:
        """Whether the head still has the server that this worker is a part of."""
        said = self.head.answer
        return not self.head.gone and said.get("life") == self.pins.get("0")

    def fail(self, reason: str) -> None:
        """Tell the others why this rank ends."""
        self.state, self.reason = "failed", reason
        time.sleep(LINGER_S)
