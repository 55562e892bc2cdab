"""The stand-in nvidia-smi prints in the form of the real one, as captured from a real driver."""

import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from lab.supply.standin import standin

FIXTURES = Path(__file__).parents[1] / "fixtures/nvidia-580.159.04-h200"
VERSION = "580.159.03"
LOADED = "NVRM version: NVIDIA UNIX Open Kernel Module for aarch64  {}  Release Build  (lab)  \n"


@dataclass(frozen=True)
class Gpu:
    """The program with a host's files below ``root`` instead of /."""

    root: Path

    def put(self, path: str, text: str) -> None:
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)

    def smi(self, *words: str) -> subprocess.CompletedProcess[str]:
        text = standin("nvidia-smi", version=VERSION, cuda="13.0")
        for top in ("/usr/lib/", "/proc/driver/", "/etc/", "/run/"):
            text = text.replace(top, f"{self.root}{top}")
        program = self.root / "nvidia-smi"
        program.write_text(text)
        return subprocess.run(["sh", program, *words], capture_output=True, text=True)


@pytest.fixture
def gpu(tmp_path: Path) -> Gpu:
    host = Gpu(tmp_path)
    host.put(f"usr/lib/aarch64-linux-gnu/libnvidia-ml.so.{VERSION}", "")
    host.put("proc/driver/nvidia/version", LOADED.format(VERSION))
    host.put("etc/machine-id", "0123456789abcdef0123456789abcdef\n")
    host.put("run/nvidia-persistenced/socket", "")
    return host


def test_the_table_has_the_real_ones_frame(gpu: Gpu) -> None:
    ours = gpu.smi().stdout.splitlines()
    real = (FIXTURES / "nvidia-smi.txt").read_text().splitlines()
    assert [len(line) for line in ours] == [len(line) for line in real]
    framed = [n for n, line in enumerate(real) if line.startswith(("+", "|==", "| Fan", "| GPU"))]
    assert [ours[n] for n in framed] == [real[n] for n in framed]


def test_queried_fields_are_in_the_real_ones_form(gpu: Gpu) -> None:
    facts = (FIXTURES / "facts.txt").read_text().splitlines()
    query = next(word for word in facts[0].split() if word.startswith("--query-gpu="))
    ours = gpu.smi(query, "--format=csv,noheader").stdout.strip().split(", ")
    real = dict(zip(query.split("=")[1].split(","), facts[1].split(", "), strict=True))
    shown = dict(zip(real, ours, strict=True))
    assert shown["driver_version"] == VERSION
    assert shown["uuid"] == "GPU-01234567-89ab-cdef-0123-456789abcdef"
    missing = {name for name, value in shown.items() if value == "[N/A]"}
    assert missing == {"memory.total", "memory.used", "memory.free", "power.limit"}
    for name in real.keys() - missing:  # the same unit, the same shape of number
        assert shown[name].split(" ")[1:] == real[name].split(" ")[1:] or name == "name", name


def test_the_header_names_units(gpu: Gpu) -> None:
    lines = gpu.smi("--query-gpu=memory.total,clocks.sm,pstate", "--format=csv").stdout
    assert lines == "memory.total [MiB], clocks.sm [MHz], pstate\n[N/A], 208 MHz, P8\n"


def test_an_unknown_field_is_an_error(gpu: Gpu) -> None:
    done = gpu.smi("--query-gpu=name,colour", "--format=csv")
    assert (done.returncode, done.stdout.strip()) == (
        2,
        'Field "colour" is not a valid field to query.',
    )


def test_the_module_that_is_loaded_must_be_the_one_installed(gpu: Gpu) -> None:
    gpu.put("proc/driver/nvidia/version", LOADED.format("580.95.05"))
    done = gpu.smi("-L")
    assert done.returncode == 18
    assert done.stdout.splitlines()[0].endswith("Driver/library version mismatch")


def test_nothing_loaded_is_no_communication(gpu: Gpu) -> None:
    (gpu.root / "proc/driver/nvidia/version").unlink()
    assert gpu.smi("-L").returncode == 9


def test_values_can_be_set(gpu: Gpu) -> None:
    gpu.put("etc/lab/gpu.conf", "temperature.gpu=83\n")
    assert gpu.smi("--query-gpu=temperature.gpu", "--format=csv,noheader").stdout == "83\n"
