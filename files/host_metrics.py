"""Writes what only this fleet knows of the host, for Prometheus' node exporter to pass on.

    host_metrics.py CONFIG      a JSON file; runs until it is stopped

CONFIG: {serves, hub, period_s, memory_floor_bytes, cache_reserve_bytes}. A figure that is not known
is left out: a GB10's nvidia-smi has no memory, and [N/A] is never 0.
"""

from __future__ import annotations

import datetime
import json
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import audit
import command
import gpu
import layout
import release as releases
import systemd
from errors import HostError, Refused, exit_code
from facts_driver import loaded_version

FILE = "fleet.prom"
OK = ("switched", "unchanged")
GPU = {  # field of nvidia-smi -> name, how many of the unit are one of nvidia-smi's
    "clocks.sm": ("gpu_clock_hertz", 1e6),
    "clocks.max.sm": ("gpu_clock_max_hertz", 1e6),
    "temperature.gpu": ("gpu_temperature_celsius", 1.0),
    "power.draw": ("gpu_power_watts", 1.0),
    "utilization.gpu": ("gpu_busy_ratio", 0.01),
}
Sample = tuple[str, dict[str, str], float]  # name without its prefix, labels, value
Config = dict[str, Any]
Reader = Callable[[Config], Iterator[Sample]]


def of_gpu(_: Config) -> Iterator[Sample]:
    """Clock, heat, power and use."""
    try:
        state = gpu.state()
    except HostError:
        yield "gpu_answers", {}, 0
        return
    yield "gpu_answers", {}, 1
    for field, (name, factor) in GPU.items():
        value = gpu.number(state[field])
        if value is not None:
            yield name, {}, value * factor


def of_driver(_: Config) -> Iterator[Sample]:
    """What is loaded, and what would be after a boot."""
    told = Path("/proc/driver/nvidia/version")
    loaded = loaded_version(told.read_text()) if told.exists() else None
    done = command.attempt(["modinfo", "-F", "version", "nvidia"])
    installed = done.out.strip() if done.rc == 0 else ""
    yield "driver_info", {"loaded": loaded or "", "installed": installed}, 1
    if loaded and installed:
        yield "driver_mismatch", {}, loaded != installed


def of_release(_: Config) -> Iterator[Sample]:
    """What the host is to serve now, and whether it does."""
    digest = releases.linked(layout.CURRENT)
    yield "serving", {}, systemd.show().serving
    if digest:
        found = releases.read(digest)
        labels = {"release": digest, "mode": found.mode, "model": found.model}
        yield "release_info", labels, 1


def of_last_run(_: Config) -> Iterator[Sample]:
    """How the last change ended, and whether the host is what that run wanted."""
    runs = [line for line in audit.last(50) if line.get("action") == "activate"]
    if not runs:
        return
    last = {name: str(value) for name, value in runs[-1].items()}
    outcome, wanted = last.get("outcome", ""), last.get("wanted", "")
    labels = {"outcome": outcome, "wanted": wanted, "who": last.get("who", "")}
    yield "last_run_info", labels, 1
    yield "last_run_ok", {}, outcome in OK
    yield "last_run_time_seconds", {}, _epoch(last["time"])
    yield "drift", {}, releases.linked(layout.CURRENT) != wanted


def _epoch(text: str) -> float:
    form = "%Y-%m-%dT%H:%M:%SZ"
    return datetime.datetime.strptime(text, form).replace(tzinfo=datetime.UTC).timestamp()


def of_limits(config: Config) -> Iterator[Sample]:
    """Room beside the models, and what the settings want to be left."""
    disk = shutil.disk_usage(config["hub"])
    yield "cache_free_bytes", {}, disk.free
    yield "cache_size_bytes", {}, disk.total
    yield "cache_reserve_bytes", {}, config["cache_reserve_bytes"]
    yield "memory_floor_bytes", {}, config["memory_floor_bytes"]


def of_certificates(_: Config) -> Iterator[Sample]:
    """When each of our HAProxy's certificates ends."""
    for path in sorted(layout.HAPROXY.glob("*/server.pem")):
        said = command.run(["openssl", "x509", "-noout", "-enddate", "-in", str(path)]).strip()
        end = datetime.datetime.strptime(said, "notAfter=%b %d %H:%M:%S %Y %Z")
        seconds = end.replace(tzinfo=datetime.UTC).timestamp()
        yield "certificate_end_seconds", {"of": path.parent.name}, seconds


SERVING = (of_gpu, of_driver, of_release, of_last_run, of_limits)
READERS: dict[str, Reader] = {
    read.__name__.removeprefix("of_"): read for read in (*SERVING, of_certificates)
}


def samples(config: Config) -> Iterator[Sample]:
    """All that can be read now. A part that fails is told by ``read_failed`` and the journal."""
    for name, read in READERS.items():
        if not config["serves"] and read in SERVING:
            continue
        failed = 0
        try:
            yield from list(read(config))
        except (HostError, OSError, ValueError, KeyError) as error:
            print(f"{name}: {error}", file=sys.stderr, flush=True)
            failed = 1
        yield "read_failed", {"part": name}, failed
    yield "read_time_seconds", {}, time.time()


def text(found: Iterator[Sample]) -> str:
    """In Prometheus' own form, samples of one name together."""
    lines: dict[str, list[str]] = {}
    for name, labels, value in found:
        inner = ",".join(f'{key}="{_escaped(said)}"' for key, said in labels.items())
        line = f"vllm_fleet_{name}{f'{{{inner}}}' if inner else ''} {float(value)!r}"
        lines.setdefault(name, []).append(line)
    return "".join(
        f"# TYPE vllm_fleet_{name} gauge\n" + "".join(f"{line}\n" for line in group)
        for name, group in lines.items()
    )


def _escaped(value: str) -> str:
    return value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")


def write(path: Path, body: str) -> None:
    """Whole or not at all; all may read it. After a power loss it is written anew anyway."""
    aside = path.with_suffix(".new")
    aside.write_text(body, encoding="utf-8")
    aside.chmod(0o644)
    os.replace(aside, path)


def main() -> int:
    """Writes for ever; Refused without a readable CONFIG."""
    try:
        config = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
        period = float(config["period_s"])
    except (IndexError, OSError, ValueError, KeyError) as error:
        raise Refused(f"configuration: found none that can be read ({error})") from None
    while True:
        write(layout.METRICS / FILE, text(samples(config)))
        time.sleep(period)


if __name__ == "__main__":
    sys.exit(exit_code("host_metrics", main))
