"""The small parts that decide without a host."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import container
import durable
import haproxy_config
import hostlock
import hub_container
import layout
import memory
import notify
import pytest
import release
from errors import HostError, Refused, exit_code
from model_request import Request

from tests.files.docker_daemon import INSPECTED

FACTS: dict[str, object] = {
    "digest": "a" * 12, "mode": "nvfp4", "model": "org/name", "revision": "0" * 40,
    "image": "vllm@sha256:0", "served_name": "org/name", "listen": "127.0.0.1", "port": 8000,
    "ready_timeout_s": 1800, "drain_timeout_s": 60, "stall_timeout_s": 600, "memory_needed_kib": 0,
}  # fmt: skip
PLACE = Path("/etc/vllm-fleet/releases/x/release.json")


def test_a_release_is_read_and_more_keys_of_a_newer_version_are_left_out() -> None:
    found = release.parse({**FACTS, "from_the_future": 1}, PLACE)
    assert (found.digest, found.container, found.address) == ("a" * 12, "vllm", "127.0.0.1")


@pytest.mark.parametrize(
    ("key", "value", "told"),
    [
        ("port", None, "port: found None, allowed: int"),
        ("listen", "0.0.0.0", "listen: found '0.0.0.0', allowed: 127.0.0.1 or ::1; run deploy.py"),
        ("port", "8000", "port: found '8000', allowed: int"),
        ("port", True, "port: found True, allowed: int"),
        ("image", 7, "image: found 7, allowed: str"),
    ],
)
def test_a_wrong_release_names_file_and_key(key: str, value: object, told: str) -> None:
    with pytest.raises(Refused, match=f"{PLACE}: {told}"):
        release.parse({**FACTS, key: value}, PLACE)


@pytest.mark.parametrize("digest", ["", "../../etc", "A" * 12, "a" * 13])
def test_only_a_digest_is_taken_for_a_release(digest: str) -> None:
    with pytest.raises(Refused, match="allowed are 12 hex digits"):
        release.read(digest)


def test_a_container_is_ours_by_its_label_only() -> None:
    ours = container.parse(INSPECTED)  # type: ignore[arg-type]
    assert (ours.name, ours.release, ours.exit_code, ours.oom_killed) == (
        "vllm", "a" * 12, 137, True
    )  # fmt: skip
    assert not ours.running
    bare = {**INSPECTED, "Config": {"Image": "x", "Labels": None}}
    stranger = container.parse(bare)  # type: ignore[arg-type]
    assert stranger.release is None
    with pytest.raises(HostError, match="container vllm is not ours"):
        container.remove(stranger)


def test_a_lock_is_stale_when_its_process_or_its_boot_is_gone() -> None:
    mine = hostlock.owner("ann", "desk", "activate")
    assert hostlock.stale(mine, activation_alive=False) is None
    gone = replace(mine, pid=999_999)
    assert hostlock.stale(gone, activation_alive=False) == "its process 999999 is gone"
    assert hostlock.stale(gone, activation_alive=True) is None
    recycled = replace(mine, pid_started=mine.pid_started - 1)
    assert "is gone" in str(hostlock.stale(recycled, activation_alive=False))
    earlier = replace(mine, boot_id="another")
    assert hostlock.stale(earlier, activation_alive=True) == "the host was booted since"
    assert hostlock.stale(None, activation_alive=False) == "its holder left no note"


def test_memory_that_does_not_come_is_told_with_who_holds_it() -> None:
    told: list[str] = []
    needed = memory.meminfo("MemTotal") * 2
    with pytest.raises(HostError, match=r"MemAvailable is .* GiB, the release needs .*\(pid \d+\)"):
        memory.wait(needed, bound_s=0.5, stop=threading.Event(), tell=told.append)
    assert told[0].startswith("waiting for memory: ")


def test_waiting_for_memory_ends_when_told_to_stop_and_at_once_when_there_is_enough() -> None:
    stop = threading.Event()
    begun = time.monotonic()
    memory.wait(1, bound_s=9, stop=stop, tell=print)
    stop.set()
    memory.wait(memory.meminfo("MemTotal") * 2, bound_s=9, stop=stop, tell=print)
    assert time.monotonic() - begun < 1


def test_a_link_moves_in_one_step_and_goes_away(tmp_path: Path) -> None:
    current = tmp_path / "current"
    for target in ("releases/a", "releases/b", "releases/b"):
        durable.link(current, target)
        assert os.readlink(current) == target
    durable.link(current, None)
    assert list(tmp_path.iterdir()) == []


def test_json_is_replaced_whole_and_nonsense_reads_as_none(tmp_path: Path) -> None:
    path = tmp_path / "deep/record.json"
    durable.write_json(path, {"a": 1})
    durable.write_json(path, {"b": 2})
    assert durable.read_json(path) == {"b": 2}
    assert [item.name for item in path.parent.iterdir()] == ["record.json"]
    path.write_text('{"b": 2')
    assert durable.read_json(path) is None
    assert durable.read_json(tmp_path / "none") is None


def test_an_error_is_one_line_and_an_exit_status(capsys: pytest.CaptureFixture[str]) -> None:
    def refuse() -> int:
        raise Refused("no release; run deploy.py")

    def stumble() -> int:
        raise KeyError("odd")

    assert exit_code("serve", refuse) == 78
    assert capsys.readouterr().err == "serve: no release; run deploy.py\n"
    assert exit_code("serve", stumble) == 1
    said = capsys.readouterr().err
    assert said == "serve: unexpected KeyError: 'odd'; see journalctl -t serve\n"


def test_systemd_gets_every_field_on_its_own_line(tmp_path: Path) -> None:

    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(tmp_path / "notify"))
        code = "import notify; notify.status('loading weights 42 %', extend_s=60)"
        environment = {
            **os.environ, "NOTIFY_SOCKET": str(tmp_path / "notify"),
            "PYTHONPATH": str(Path(notify.__file__).parent),
        }  # fmt: skip
        subprocess.run([sys.executable, "-c", code], env=environment, check=True)
        message = listener.recv(4096).decode()
    assert message == "STATUS=loading weights 42 %\nEXTEND_TIMEOUT_USEC=60000000\nWATCHDOG=1"


OPEN_TO_ALL = ("/tmp", "/var/tmp", "/run/lock", "/dev/shm")  # folders that everybody may write to


def test_nothing_of_ours_lies_where_others_could_have_laid_a_link() -> None:
    places = [path for path in vars(layout).values() if isinstance(path, Path)]
    assert layout.LOCK in places
    assert [p for p in places if any(p.is_relative_to(top) for top in OPEN_TO_ALL)] == []


def test_the_container_that_downloads_has_no_rights_to_spare() -> None:
    """The server's own are in its compose.yaml (tests/lab/test_proxy.py)."""
    request = Request(
        *(Path("/srv/models/hub"), "org/name", "0" * 40, (), "image@sha256:0", "https://hub"),
        token_file=Path("/none"),
    )
    line = " ".join(hub_container.argv(request, ""))
    assert "--cap-drop ALL --cap-add DAC_OVERRIDE --read-only --tmpfs /tmp:size=1g" in line
    assert "--security-opt no-new-privileges" in line and "docker.sock" not in line


def test_what_haproxy_says_of_its_configuration_repeats_no_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "haproxy"
    program.write_text("#!/bin/sh\necho \"line 3: 'Bearer sesame-open' is odd\" >&2; exit 1\n")
    program.chmod(0o755)
    monkeypatch.setattr(haproxy_config, "HAPROXY", str(program))
    assert haproxy_config.complaint(tmp_path) == "line 3: 'Bearer *** is odd"
