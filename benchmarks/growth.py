"""What the control side needs for ever more hosts: pyinfra's own pretend hosts, 20 ms away.

    python benchmarks/growth.py [COUNT…]        default: 1 10 100 1000

Each run is ``status.py``: settings and rendering of every host, two remote commands. Pretend hosts
answer nothing, so what a real answer costs to read is not in it. Processor time says more than wall
time where the machine has other work.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

REPO = Path(__file__).parent.parent
INVENTORY = """hosts = [(f"@fake/{{i:04d}}", {{"fake_delay": 0.02, "fake_delay_jitter": 0}})
         for i in range({count})]
"""
DATA = f"""vllm_mode = "lab-standard"
vllm_model = "lab/tiny"
vllm_image = "registry.lab:5000/vllm@sha256:{"0" * 64}"
"""
BOUND_S = 600


def measure(count: int) -> tuple[float, float, float]:
    """Wall and processor seconds of one run, and its largest memory in MiB."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "group_data").mkdir()
        (folder / "group_data/all.py").write_text(DATA)
        (folder / "hosts.py").write_text(INVENTORY.format(count=count))
        argv = [sys.executable, "-m", "pyinfra", str(folder / "hosts.py"), "status.py"]
        begun = time.monotonic()
        process = subprocess.Popen(
            ["timeout", str(BOUND_S), *argv], cwd=REPO,
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        _, status, used = os.wait4(process.pid, 0)
    if os.waitstatus_to_exitcode(status) != 1:  # a host that answers nothing is not as declared
        sys.exit(f"{count} hosts: exit status {os.waitstatus_to_exitcode(status)}, wanted 1")
    return time.monotonic() - begun, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024


def main() -> None:
    """A row of a Markdown table for each count."""
    print("| hosts | wall s | processor s | processor ms a host | memory MiB |")
    print("| --- | --- | --- | --- | --- |")
    first = 0.0
    for count in [int(word) for word in sys.argv[1:]] or [1, 10, 100, 1000]:
        wall, processor, memory = measure(count)
        first = first or processor
        more = f"{1000 * (processor - first) / (count - 1):.1f}" if count > 1 else ""
        print(f"| {count} | {wall:.1f} | {processor:.2f} | {more} | {memory:.0f} |", flush=True)


if __name__ == "__main__":
    main()
