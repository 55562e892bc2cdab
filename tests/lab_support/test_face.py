"""The data of a GB10's face, and the stand-in programs that need no host to run."""

import struct
import subprocess
from pathlib import Path

import pytest

from lab import face
from lab.command import LabError


def test_the_gpu_is_a_gb10_to_whoever_reads_its_configuration_space() -> None:
    config = face.pci_config()
    assert len(config) == 256
    assert struct.unpack_from("<HH", config) == (0x10DE, 0x2E12)
    assert config[11] == 3  # display controller


def test_plain_ubuntu_has_no_dgx_release(tmp_path: Path) -> None:
    face.write(tmp_path, "ubuntu", face.variant("spark"))
    assert 'VERSION_ID="24.04"' in (tmp_path / "usr/lib/os-release").read_text()
    assert not (tmp_path / "etc/dgx-release").exists()


def test_a_partners_machine_runs_dgx_os_under_its_own_name(tmp_path: Path) -> None:
    face.write(tmp_path, "dgx", face.variant("gx10"))
    release = (tmp_path / "etc/dgx-release").read_text()
    assert 'DGX_NAME="DGX Spark"' in release
    assert 'DGX_PLATFORM="GX10"' in release
    dmi = tmp_path / "usr/lib/lab/face/sys/class/dmi/id"
    assert (dmi / "sys_vendor").read_text() == "ASUSTeK COMPUTER INC.\n"


def test_an_unknown_variant_is_refused() -> None:
    with pytest.raises(LabError, match="--variant: found 'x', allowed: spark, gx10"):
        face.variant("x")


def test_every_program_says_that_it_stands_in() -> None:
    programs = [path for path in face.PROGRAMS.rglob("*") if path.stat().st_mode & 0o100]
    programs = [path for path in programs if path.is_file()]
    assert len(programs) >= 9
    for path in programs:
        assert path.read_text().splitlines()[1].startswith("# Stand-in"), path
        subprocess.run(["sh", "-n", path], check=True)
