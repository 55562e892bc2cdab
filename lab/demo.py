"""``python -m lab demo``: two bare simulated hosts, one command, an answer from each."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

from rich.console import Console
from rich.table import Table

from lab import lifecycle
from lab.command import LabError
from lab.progress import say

DEPLOY = ["lab/inventory.py", "deploy.py", "-y"]
REPO = Path(__file__).parent.parent


def run(name: str, count: int) -> int:
    """Boot, deploy, show what every host answers. The exit status is the deploy's."""
    began = time.monotonic()
    lifecycle.up(lifecycle.wanted(name, count))
    say(f"pyinfra {' '.join(DEPLOY)}")
    deployed = time.monotonic()
    evidence = deploy(name)
    now = time.monotonic()
    tell(json.loads(evidence.read_text()))
    print(f"{now - began:.0f} s in all, the deploy {now - deployed:.0f} s. Evidence: {evidence}")
    print("log in:    python -m lab ssh spark-01\ntear down: make down")
    return int(json.loads(evidence.read_text())["exit_code"])


def deploy(name: str) -> Path:
    """Run the deploy on the terminal; the evidence file it wrote."""
    folder = REPO / "evidence"
    before = set(folder.glob("*-deploy.json"))
    words = [sys.executable, "-m", "pyinfra", *DEPLOY]
    status = subprocess.run(words, cwd=REPO, env={**os.environ, "LAB_NAME": name}).returncode
    new = sorted(set(folder.glob("*-deploy.json")) - before)
    if status != 0 or not new:
        raise LabError(f"demo: the deploy ended with status {status}; look above for the reason")
    return new[-1].relative_to(REPO)


def tell(evidence: dict[str, list[dict[str, object]]]) -> None:
    """What each host serves and what it answered."""
    table = Table("host", "mode", "model", "release", "completion", "tokens/s", box=None)
    for host in evidence["hosts"]:
        columns = ("host", "mode", "model", "release", "completion", "tokens_per_s")
        table.add_row(*(str(host[column]) for column in columns))
    Console(width=max(100, Console().width)).print(table)
