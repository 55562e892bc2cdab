"""The containers that are ours, by label. Others are read, never touched."""

from __future__ import annotations

import contextlib
import json
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import command
import docker_api
import layout
from errors import HostError
from release import Release

REMOVE_S = 60.0  # Docker gives up killing after 12 s; then come the layers
REMOVAL_S = 20.0


class DockerDown(HostError):
    """The daemon does not answer; nothing is known about containers."""


@dataclass(frozen=True)
class Container:
    """A container: ``release`` is None if it is not ours; ``pid`` 0 when it does not run."""

    id: str
    name: str
    image: str
    release: str | None
    status: str
    exit_code: int
    oom_killed: bool
    pid: int
    image_id: str = ""

    @property
    def running(self) -> bool:
        """Whether its process lives."""
        return self.status in ("running", "paused", "restarting")


def ours() -> list[Container]:
    """Every container with our label, running or not."""
    label = quote(json.dumps({"label": [layout.RELEASE_LABEL]}))
    listed = _ask(f"/containers/json?all=1&filters={label}")
    found = (inspect(item["Id"]) for item in listed)
    return [item for item in found if item is not None]


def inspect(name: str) -> Container | None:
    """The container of that id or name; None if there is none. Raises DockerDown without Docker."""
    try:
        return parse(_ask(f"/containers/{name}/json"))
    except docker_api.Absent:
        return None


def parse(data: dict[str, dict[str, object]]) -> Container:
    """One element of ``docker inspect``."""
    state, config = data["State"], data["Config"]
    labels = config.get("Labels")
    release = labels.get(layout.RELEASE_LABEL) if isinstance(labels, dict) else None
    return Container(
        str(data["Id"]),
        str(data["Name"]).lstrip("/"),
        str(config["Image"]),
        release,
        str(state["Status"]),
        int(str(state["ExitCode"])),
        state["OOMKilled"] is True,
        int(str(state["Pid"])),
        str(data.get("Image", "")),
    )


def up(release: Release, *more: Path) -> Container:
    """Create and start the release's container; raises HostError with compose's last line.

    ``more``: Compose files over the release's own."""
    overrides = [word for path in more for word in ("-f", str(path))]
    words = ["up", "--detach", "--no-build", "--pull", "never", "--force-recreate"]
    command.run([*compose(release), *overrides, *words], timeout=180)
    started = inspect(release.container)
    if started is None or started.release != release.digest:
        raise HostError(
            f"compose made no container {release.container} with the label "
            f"{layout.RELEASE_LABEL}={release.digest}; stage the release again"
        )
    return started


def compose(release: Release) -> list[str]:
    """The start of every compose command for a release."""
    return ["docker", "compose", "-p", release.project, "-f", str(release.folder / "compose.yaml")]


def remove(item: Container) -> None:
    """Kill and remove a container of ours. Removing what is gone is no error."""
    if item.release is None:
        raise HostError(
            f"container {item.name} is not ours (no label {layout.RELEASE_LABEL}); left alone"
        )
    try:
        _ask(f"/containers/{item.id}?force=1", REMOVE_S, method="DELETE")
    except docker_api.Absent:
        return
    except docker_api.Conflict as error:
        _await_removal(item, str(error))


def _await_removal(item: Container, said: str) -> None:
    """Somebody else removes it already; raises HostError with what Docker ``said`` if it stays."""
    deadline = time.monotonic() + REMOVAL_S
    while inspect(item.id) is not None:
        if time.monotonic() > deadline:
            raise HostError(
                f"container {item.name} is not gone after {REMOVAL_S:.0f} s ({said}); see docker "
                "ps --all"
            )
        time.sleep(0.2)


def clear() -> list[str]:
    """Remove every container of ours; returns their names."""
    leftovers = ours()
    for item in leftovers:
        remove(item)
    return [item.name for item in leftovers]


def _ask(path: str, timeout_s: float = docker_api.ANSWER_S, *, method: str = "GET") -> Any:
    """What Docker's daemon says; raises DockerDown if it says nothing, else HostError, and
    docker_api.Absent or Conflict as they are."""
    try:
        return docker_api.ask(path, timeout_s, method=method)
    except (docker_api.Absent, docker_api.Conflict):
        raise
    except docker_api.Failed as error:
        raise HostError(str(error)) from None
    except TimeoutError:
        raise DockerDown(f"Docker gave no answer in {timeout_s:.0f} s; is it hung?") from None
    except (OSError, ValueError) as error:
        raise DockerDown(f"Docker is down ({error}); see systemctl status docker") from None


def daemon_answers() -> bool:
    """Whether Docker can be asked now."""
    try:
        _ask("/version", timeout_s=5)
    except HostError:
        return False
    return True


def alive(item: Container) -> bool:
    """Whether the container's first process lives, asked of the kernel, not of Docker."""
    try:
        return item.id in Path(f"/proc/{item.pid}/cgroup").read_text()
    except OSError:
        return False


def signal_process(item: Container, number: int) -> None:
    """Signal that process without Docker; one that is gone is no error."""
    if alive(item):
        with contextlib.suppress(ProcessLookupError):
            os.kill(item.pid, number)


def refuse_foreign(release: Release) -> None:
    """Raise HostError if someone else's container holds our name."""
    holder = inspect(release.container)
    if holder is not None and holder.release is None:
        raise HostError(
            f"container {holder.name} ({holder.image}, {holder.status}) is not ours; "
            f"rename or remove it: docker rename {holder.name} {holder.name}-other"
        )


def cpu_seconds(pid: int) -> float | None:
    """CPU time that the container of process ``pid`` used so far (cgroup v2); None if unknown."""
    try:
        groups = Path(f"/proc/{pid}/cgroup").read_text().splitlines()
        path = next(line[3:] for line in groups if line.startswith("0::"))
        figures = Path(f"/sys/fs/cgroup{path}/cpu.stat").read_text().split()
        return int(figures[figures.index("usage_usec") + 1]) / 1e6
    except (OSError, ValueError, StopIteration):
        return None
