"""Main process of vllm.service: serves the current release until told to stop.

``systemctl start`` returns when a real completion was answered. Commands: none (serve),
``clear`` (remove our container; ExecStopPost), ``reset`` (forget failed starts).
"""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
import time
from dataclasses import asdict
from pathlib import Path

import bootguard
import cluster
import completion
import container
import durable
import layout
import memory
import preflight_release
import release as releases
import watchdog
from errors import FAILED, HostError, Refused, exit_code
from notify import notify, status
from release import Release
from server import EXTEND_S, PeerFailed, PeerLeft, Server, ServerFailed, Stopped
from team import Apart, Team, course
from worker import Worker

MEMORY_BOUND_S = 180.0
DOCKER_BOUND_S = 120.0


def serve() -> int:
    """Serve the current release; 0 when told to stop, raises HostError when it failed."""
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    release = releases.current()
    try:
        await_docker(stop)
        if not stop.is_set():
            bootguard.begin(release.digest)
            attempt(release, stop)
    except HostError as error:
        record_failure(release, error)
        raise
    finally:
        layout.SERVING.unlink(missing_ok=True)
    return 0


def attempt(release: Release, stop: threading.Event) -> None:
    """Serve until told to stop; what else ends it is held against the release, or is not."""
    try:
        prepare(release, stop)
        team = gathered(release, stop)
        if not stop.is_set():
            run(release, stop, team)
    except HostError as error:
        if isinstance(error, container.DockerDown | Apart | PeerFailed):
            bootguard.withdraw(release.digest)  # says nothing about the release
        else:
            bootguard.note(release.digest, str(error))
        raise
    bootguard.withdraw(release.digest)


def prepare(release: Release, stop: threading.Event) -> None:
    """Make room: no leftover of ours, nobody else on the name or the port, enough memory."""
    container.refuse_foreign(release)
    for name in container.clear():
        print(f"serve: removed leftover container {name}", flush=True)
    require_free_port(release)
    preflight_release.require_locked(
        release, lambda _: status("checking the model's files", extend_s=EXTEND_S)
    )
    memory.wait(
        release.memory_needed_kib,
        bound_s=MEMORY_BOUND_S,
        stop=stop,
        tell=lambda text: status(text, extend_s=EXTEND_S),
    )
    memory.drop_page_cache(release.memory_needed_kib)
    own(layout.CACHE, layout.CONTAINER_USER)


def own(folder: Path, user: int) -> None:
    """Give all in ``folder`` to the server's user and group: releases of before ran as root."""
    for _, folders, files, at in os.fwalk(folder):
        for name in (".", *folders, *files):
            found = os.stat(name, dir_fd=at, follow_symlinks=False)
            if (found.st_uid, found.st_gid) != (user, user):
                os.chown(name, user, user, dir_fd=at, follow_symlinks=False)


def gathered(release: Release, stop: threading.Event) -> Team | None:
    """The other hosts of the replica, all there; None where this host serves alone.

    Waiting for them is no attempt to start: the boot guard does not count it.
    """
    replica = cluster.of(release)
    if replica is None:
        return None
    bootguard.withdraw(release.digest)
    while (rank := cluster.own(replica)) is None and not stop.is_set():
        wanted = ", ".join(one.address for one in replica.ranks)
        status(f"waiting for one of {wanted} on this host", extend_s=EXTEND_S)
        stop.wait(1.0)
    if rank is None:
        return None
    team = Team(release, replica, rank)
    team.gather(stop, lambda text: status(text, extend_s=EXTEND_S))
    bootguard.begin(release.digest)
    return team


def await_docker(stop: threading.Event) -> None:
    """Return when Docker answers or ``stop`` is set; that is no attempt to start yet.

    It may take for ever, but a switch has to go back: then DockerDown after a while.
    """
    deadline = time.monotonic() + DOCKER_BOUND_S
    while not stop.is_set() and not container.daemon_answers():
        if course() and time.monotonic() > deadline:
            raise container.DockerDown(
                f"Docker gave no answer for {DOCKER_BOUND_S:.0f} s; see systemctl status docker"
            )
        status("waiting for Docker", extend_s=EXTEND_S)
        stop.wait(1.0)


def require_free_port(release: Release) -> None:
    """Raise HostError if a stranger listens where the gate would ask."""
    family = socket.AF_INET6 if ":" in release.address else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            sock.bind((release.listen, release.port))
        except OSError as error:
            raise HostError(
                f"{release.listen}:{release.port} cannot be bound ({error.strerror}); "
                f"find who holds it: ss -ltnp sport = :{release.port}"
            ) from None


def run(release: Release, stop: threading.Event, team: Team | None) -> None:
    """One life of the server; its container is gone when this returns or raises."""
    kind = Server if team is None or team.is_head else Worker
    server = kind(release, stop, team)
    try:
        ready(server, server.wait_ready())
        server.watch()
    except Stopped:
        server.quit()
    except PeerLeft:
        server.quit(asked=False)
        raise
    except ServerFailed as error:
        if team is not None:
            team.fail(str(error))
        server.end(0)
        raise


def ready(server: Server, answer: completion.Result) -> None:
    """Tell systemd and the host that the server serves, and what the watchdog cannot do."""
    release = server.release
    problems = watchdog.self_test(
        release.address,
        None if isinstance(server, Worker) else release.port,
        server.item.id,
        under_systemd="NOTIFY_SOCKET" in os.environ,
    )
    if server.team is not None:
        server.team.gate, server.team.state = asdict(answer), "ready"
    for problem in problems:
        print(f"serve: watchdog {problem}", flush=True)
    durable.write_json(
        layout.SERVING,
        {
            "release": release.digest,
            "container": server.item.id,
            "since": time.time(),
            "ready_s": round(time.monotonic() - server.begun, 1),
            "gate": asdict(answer),
            "said": server.log.said,
            "watchdog": problems,
        },
    )
    notify(READY=1, STATUS=f"serving {release.digest} ({release.mode})")


def record_failure(release: Release, error: HostError) -> None:
    """Keep why a server failed, for the activation that waits for it and for a person."""
    record = {"release": release.digest, "at": time.time(), "reason": str(error)}
    try:
        durable.write_json(layout.FAILURE, {**record, "log": list(error.log)})
    except OSError as fault:
        print(f"serve: {layout.FAILURE}: {fault.strerror}; not kept", flush=True)


def clear() -> int:
    """Remove what a killed serve left behind; what cannot be removed, the next start removes."""
    try:
        container.clear()
    except HostError as error:
        print(f"serve: {error}; the next start removes it", flush=True)
    return 0


def reset() -> int:
    """Let a release be tried again."""
    return 0 if bootguard.reset() else FAILED


def main() -> int:
    """Dispatch the command."""
    commands = {"": serve, "clear": clear, "reset": reset}
    name = sys.argv[1] if len(sys.argv) > 1 else ""
    if name not in commands:
        raise Refused(f"command {name!r}: allowed are none, clear, reset")
    return commands[name]()


if __name__ == "__main__":
    code = exit_code("serve", main)
    sys.stdout.flush()
    os._exit(code)  # a thread may still sit in a read
