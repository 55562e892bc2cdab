"""The snapshot program itself, run as it runs on a host: through ``python3 -``."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import facts
import facts_driver
import facts_network
import pytest

from deploys import programs

FIXTURE = Path(__file__).parent.parent / "fixtures" / "nvidia-580.159.04-h200"


def take(request: dict[str, object]) -> dict[str, object]:
    done = subprocess.run(
        [sys.executable, "-"],
        input=programs.stdin_with_siblings("snapshot", request),
        capture_output=True,
        text=True,
        check=True,
    )
    [line] = done.stdout.splitlines()
    return json.loads(line)


def test_it_answers_on_any_linux_machine_and_every_group_is_told(tmp_path: Path) -> None:
    found = take({})
    assert set(found) >= {"host", "kernels", "driver", "packages", "docker", "errors", "listeners"}
    assert found["host"]["kernel"] == os.uname().release
    assert found["host"]["meminfo"]["MemTotal"] > 0
    assert {name for name, value in found.items() if value is None} - {"firewall", "fabric"} <= set(
        found["errors"]
    )


def test_a_file_is_told_with_sum_mode_and_owner_and_an_absent_one_as_null(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("text")
    file.chmod(0o640)
    link = tmp_path / "link"
    link.symlink_to("file")
    found = take({"files": [str(file), str(link), str(tmp_path), str(tmp_path / "none")]})["files"]
    state = found[str(file)]
    assert state["sha256"] == hashlib.sha256(b"text").hexdigest()
    assert (state["kind"], state["mode"]) == ("file", "640")
    assert (found[str(link)]["kind"], found[str(link)]["target"]) == ("link", "file")
    assert found[str(tmp_path)]["kind"] == "dir"
    assert found[str(tmp_path / "none")] is None


def test_the_process_behind_a_port_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        [listener] = take({"ports": [port]})["listeners"]
    assert (listener["port"], listener["pid"]) == (port, os.getpid())
    assert take({"ports": [port]})["listeners"] == []


def test_the_disk_of_a_folder_yet_to_be_made_is_that_of_its_parent(tmp_path: Path) -> None:
    found = take({"disks": [str(tmp_path / "a" / "b")]})["disk"]
    assert found[str(tmp_path / "a" / "b")]["total"] == shutil.disk_usage(tmp_path).total


def test_one_unreadable_fact_does_not_hide_the_others(tmp_path: Path) -> None:
    broken = tmp_path / "activation.json"
    broken.write_text("{")
    found = take({"serving": {"activation": str(broken)}, "files": [str(broken)]})
    assert found["serving"] is None
    assert "JSONDecodeError" in found["errors"]["serving"]
    assert found["files"][str(broken)]["kind"] == "file"


def test_a_model_is_told_file_by_file_and_a_dangling_link_has_no_size(tmp_path: Path) -> None:
    folder = tmp_path / "models--org--name"
    blobs, top = folder / "blobs", folder / "snapshots" / "abc"
    blobs.mkdir(parents=True)
    (top / "sub").mkdir(parents=True)
    (blobs / "b1").write_text("12345")
    (top / "sub" / "weights").symlink_to("../../../blobs/b1")
    (top / "lost").symlink_to("../../blobs/none")
    asked = {"hub": str(tmp_path), "repo": "org/name", "revision": "abc"}
    found = take({"models": [asked]})["models"]["org/name"]
    there = (blobs / "b1").stat()
    assert found == {
        "present": True,
        "files": {
            "lost": {"mark": None, "blob": "none"},
            "sub/weights": {"mark": [there.st_ino, 5, there.st_mtime_ns], "blob": "b1"},
        },
    }


@pytest.mark.parametrize(
    ("packed", "plain"),
    [
        ("0100007F", "127.0.0.1"),
        ("0000000000000000FFFF00000100007F", "127.0.0.1"),
        ("00000000000000000000000001000000", "::1"),
    ],
)
def test_socket_tables_hold_addresses_word_by_word(packed: str, plain: str) -> None:
    assert facts_network.address(packed) == plain


def test_a_real_drivers_answers_are_read(tmp_path: Path) -> None:
    """The captured query has other fields than ours; those we share must be found in their form."""
    line = next(x for x in (FIXTURE / "facts.txt").read_text().splitlines() if ", NVIDIA H200" in x)
    driver, name, capability = line.split(", ")[:3]
    values = [name, driver, capability, "[N/A]", *["[Not Supported]"] * 7]
    program = tmp_path / "nvidia-smi"
    program.write_text(f"#!/bin/sh\necho '{', '.join(values)}'\n")
    program.chmod(0o755)
    fields, error = facts_driver.smi(facts.start(str(program)))
    assert error is None and fields is not None
    assert fields["name"] == "NVIDIA H200"
    assert fields["driver_version"] == "580.159.04"
    assert fields["compute_cap"] == "9.0"
    assert fields["memory.total"] is None


def test_a_real_drivers_proc_file_gives_the_loaded_version() -> None:
    text = (FIXTURE / "facts.txt").read_text()
    line = next(x for x in text.splitlines() if x.startswith("NVRM version"))
    assert facts_driver.loaded_version(line) == "580.159.04"


GRUB = """
if [ "${next_entry}" ] ; then
   set default="${next_entry}"
else
   set default="DEFAULT"
fi
menuentry 'Ubuntu' {
\tlinux\t/boot/vmlinuz-7.0.0-1019-nvidia root=/dev/mapper/vg-lv ro  kho=off
}
submenu 'Advanced options for Ubuntu' {
\tmenuentry 'Ubuntu, with Linux 7.0.0-1019-nvidia' {
\t\tlinux\t/boot/vmlinuz-7.0.0-1019-nvidia root=/dev/mapper/vg-lv ro  kho=off
\t}
\tmenuentry 'Ubuntu, with Linux 6.17.0-1032-nvidia' {
\t\tlinux\t/boot/vmlinuz-6.17.0-1032-nvidia root=/dev/mapper/vg-lv ro
\t}
}
"""


@pytest.mark.parametrize(
    ("default", "saved", "kernel"),
    [
        ("0", "", "7.0.0-1019-nvidia"),
        ("1>1", "", "6.17.0-1032-nvidia"),
        (
            "Advanced options for Ubuntu>Ubuntu, with Linux 6.17.0-1032-nvidia",
            "",
            "6.17.0-1032-nvidia",
        ),
        ("${saved_entry}", "gnulinux-6.17.0-1032-nvidia-advanced-1234", "6.17.0-1032-nvidia"),
        ("${saved_entry}", "", "7.0.0-1019-nvidia"),
        ("Ubuntu, with Linux 5.0", "", None),
    ],
)
def test_grubs_default_is_found_by_number_and_by_title(
    default: str, saved: str, kernel: str | None
) -> None:
    assert facts_driver.boot_entry(GRUB.replace("DEFAULT", default), saved)[0] == kernel


@pytest.mark.parametrize(
    ("title", "words"),
    [
        ("Ubuntu, with Linux 6.17.0-1032-nvidia", "ro pci=pcie_bus_safe"),
        ("Ubuntu, with Linux 6.17.0-1032-nvidia (recovery mode)", "ro recovery nomodeset"),
    ],
)
def test_a_recovery_entry_is_grubs_default_only_where_it_is_named(title: str, words: str) -> None:
    entries = "".join(
        f"\tlinux\t/boot/vmlinuz-6.17.0-1032-nvidia {line}\n"
        for line in ("ro pci=pcie_bus_safe", "ro recovery nomodeset")
    )
    found = facts_driver.boot_entry(f'set default="Advanced>{title}"\n{entries}', "")
    assert found == ("6.17.0-1032-nvidia", words)


def test_it_is_quick() -> None:
    """A quiet host answers in well under 250 ms; this machine runs other things beside it."""
    times = []
    for _ in range(3):
        begin = time.monotonic()
        take({"files": ["/etc/passwd"], "packages": ["dpkg"], "disks": ["/"]})
        times.append(time.monotonic() - begin)
    assert min(times) < 1.0
