"""Each way to spoil a repository is refused by a real apt; afterwards the repository is good."""

from dataclasses import dataclass
from pathlib import Path

import pytest

from lab.supply import Supply, serve_copy, tamper
from lab.supply.ca import NAMES, Ca
from lab.supply.keys import Keys
from tests.lab_support.conftest import Apt

LINE = "deb {options} {web}/nvidia.github.io/libnvidia-container/stable/deb/amd64 /"
BASE = "nvidia-container-toolkit-base"


@dataclass(frozen=True)
class Served:
    """A lab's own copy of the web root, and apt that trusts the toolkit's repository in it."""

    run: Path
    supply: Supply
    apt: Apt


@pytest.fixture
def served(apt: Apt, shared_web: Path, signing: Keys, tmp_path: Path) -> Served:
    serve_copy(shared_web, tmp_path / "run/www")
    nowhere = Ca(tmp_path, tmp_path, tmp_path, tmp_path)
    supply = Supply("amd64", shared_web, nowhere, signing, NAMES, {}, {})
    own = Apt(apt.root, tmp_path / "run/www")
    own.define("toolkit", LINE, signing.binary("toolkit"))
    return Served(tmp_path / "run", supply, own)


@pytest.mark.parametrize(
    ("way", "said"),
    [
        (tamper.changed_index, "Hash Sum mismatch"),
        (tamper.edited_release, "signatures were invalid"),
        (tamper.other_key, "NO_PUBKEY"),
        (tamper.stolen_name, "NO_PUBKEY"),
        (tamper.unsigned, "is not signed"),
        (tamper.expired, "expired"),
        (tamper.gone, "does not have a Release file"),
    ],
)
def test_update_refuses(served: Served, way: tamper.Way, said: str) -> None:
    with tamper.spoilt(served.run, served.supply, "toolkit", way):
        done = served.apt.update()
        assert done.returncode == 100
        assert said in done.stderr
    assert served.apt.update().returncode == 0


def test_a_changed_package_is_not_downloaded(served: Served, tmp_path: Path) -> None:
    served.apt.update()
    with tamper.spoilt(served.run, served.supply, "toolkit", tamper.changed_package):
        done = served.apt("install", "-d", "-y", "libnvidia-container1")
    assert done.returncode == 100
    assert "Hash Sum mismatch" in done.stderr


def test_a_changed_origin_needs_consent(served: Served) -> None:
    served.apt.update()
    with tamper.spoilt(served.run, served.supply, "toolkit", tamper.renamed):
        done = served.apt.update()
    assert done.returncode == 100
    assert "changed its 'Origin' value" in done.stderr


def test_a_lost_version_is_lost_and_comes_back(served: Served) -> None:
    way = tamper.without(BASE, "1.20.0-1")
    with tamper.spoilt(served.run, served.supply, "toolkit", way):
        assert served.apt.update().returncode == 0
        assert served.apt.plan(BASE) == {BASE: "1.19.1-1"}
    served.apt.update()
    assert served.apt.plan(BASE) == {BASE: "1.20.0-1"}


def test_the_shared_web_root_stays_good(served: Served, shared_web: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in shared_web.rglob("*") if path.is_file()}
    with tamper.spoilt(served.run, served.supply, "toolkit", tamper.changed_package):
        pass
    after = {path: path.stat().st_mtime_ns for path in shared_web.rglob("*") if path.is_file()}
    assert after == before
