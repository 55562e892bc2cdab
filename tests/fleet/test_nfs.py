"""A model cache that hosts share."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from fleet import nfs, preflight
from fleet.catalogue import Catalogue
from fleet.problems import SettingsError
from fleet.snapshot import Snapshot
from tests.fleet.examples import load
from tests.fleet.host_examples import snapshot

CACHE = "nfs://192.0.2.10/srv/models"


@pytest.mark.parametrize("folder", ["/srv/models", "/srv/my-models", "/data/.hub/a_b.c"])
def test_systemd_finds_nothing_wrong_with_the_mount(folder: str, tmp_path: Path) -> None:
    files = nfs.mount_files(CACHE, folder)
    unit, drop_in = files.items()
    if shutil.which("systemd-analyze") is None:
        pytest.skip("needs systemd-analyze")
    name = Path(unit[0]).name
    escaped = ["systemd-escape", "--path", "--suffix=mount", folder]
    assert subprocess.check_output(escaped, text=True).strip() == name
    (tmp_path / name).write_text(unit[1])
    server = tmp_path / "vllm.service"
    server.write_text(f"{drop_in[1]}[Service]\nExecStart=/bin/true\n")
    argv = ["systemd-analyze", "verify", "--man=no", str(tmp_path / name), str(server)]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (
            {"cache": "192.0.2.10:/srv"},
            "cache: found '192.0.2.10:/srv', allowed: nfs://SERVER/PATH",
        ),
        ({"cache": "nfs://a/../etc"}, "cache: found 'nfs://a/../etc', allowed: nfs://SERVER/PATH"),
        (
            {"cache_server": "a", "cache_clients": ["192.0.2.0/24"]},
            "cache_server: found 'a', allowed: with ",
        ),
        ({"cache": CACHE, "cache_server": "a"}, "cache_clients: found an empty list, allowed: the"),
    ],
)
def test_a_mistake_is_one_line(files: Catalogue, data: dict[str, object], message: str) -> None:
    with pytest.raises(SettingsError) as error:
        load(files, **data)
    assert len(error.value.problems) == 1 and message in error.value.problems[0]


@pytest.mark.parametrize(
    ("found", "told"),
    [
        ({"answers": False}, {"cache": "blocked"}),
        ({"answers": True}, {}),
        ({"answers": True, "source": "192.0.2.10:/srv/models", "usable": True}, {}),
        (
            {"answers": True, "source": "192.0.2.10:/srv/models", "usable": False},
            {"cache mount": "blocked"},
        ),
        ({"answers": True, "source": "/dev/sdb1", "usable": True}, {"cache mount": "blocked"}),
    ],
)
def test_a_dead_server_and_another_mount_are_told(
    files: Catalogue, found: dict[str, object], told: dict[str, str]
) -> None:
    assert levels(files, snapshot("nfs", value=found)) == told


def test_a_server_of_the_fleet_may_come_up_in_this_run(files: Catalogue) -> None:
    of = {"cache_server": "another", "cache_clients": ["192.0.2.0/24"]}
    assert levels(files, snapshot("nfs", value={"answers": False}), **of) == {"cache": "warn"}


def levels(files: Catalogue, now: Snapshot, **data: object) -> dict[str, str]:
    found = preflight.findings(load(files, cache=CACHE, **data), now)
    return {f.name: f.level for f in found if f.level != "ready"}


def test_the_export_names_every_network() -> None:
    text = nfs.exports("/srv/models", ("192.0.2.0/24", "198.51.100.0/24"))
    assert text.count("(rw,sync,no_subtree_check,no_root_squash)") == 2
