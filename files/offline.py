"""vLLM's own offline benchmarks, `throughput` and `latency`, while the server is stopped.

A GB10 has no memory for a second model: the server is stopped, started and gated by the same
transaction as a switch, and the measure in between is in its record.
"""

from __future__ import annotations

import signal
import subprocess
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import product
from pathlib import Path
from typing import Any

import audit
import bootguard
import command
import durable
import hostlock
import journal
import layout
import release as releases
from errors import HostError, Refused
from phases import Activation
from release import Release
from transaction import Transaction

NAME = "vllm-fleet-benchmark"
RESULT = "offline.json"
BOUND_S = 3600
PROGRAM = layout.PROGRAMS / "offline_client.py"


class NotBack(HostError):
    """The server does not serve again."""


def measured(release: Release, request: dict[str, Any], folder: Path) -> list[dict[str, Any]]:
    """Each pair of lengths by both benchmarks: its result, or why it failed. Raises HostError where
    none could begin, NotBack where the server stays down. ``folder``: where the client writes."""
    if release.replica:
        raise Refused("offline: found a replica of several hosts; allowed: one that serves alone")
    found = []
    with stopped(release, request):
        for tokens_in, tokens_out in product(request["inputs"], request["outputs"]):
            for name, words in benches(request, tokens_in, tokens_out).items():
                print(f"offline {name}: input {tokens_in}, output {tokens_out}", flush=True)
                one = {"bench": name, "input": tokens_in, "output": tokens_out}
                try:
                    found.append({**one, "result": run(release, name, words, folder)})
                except HostError as error:
                    found.append({**one, "failed": str(error)})
    return found


def benches(request: dict[str, Any], tokens_in: int, tokens_out: int) -> dict[str, list[str]]:
    """Subcommand → its words: as many prompts as the sweep's fullest point, and one at a time."""
    lengths = ["--input-len", str(tokens_in), "--output-len", str(tokens_out)]
    # throughput takes its own defaults of these before the words that both know
    random = ["--random-input-len", str(tokens_in), "--random-output-len", str(tokens_out)]
    prompts = max(request["prompts"], 4 * max(request["concurrency"]))
    repeats = max(3, request["repeats"])
    return {
        "throughput": ["--dataset-name", "random", *random, "--num-prompts", str(prompts)],
        "latency": [
            *(*lengths, "--batch-size", "1", "--num-iters-warmup", "1"),
            *("--num-iters", str(repeats)),
        ],
    }


def run(release: Release, name: str, words: list[str], folder: Path) -> dict[str, Any]:
    """One benchmark in the release's own container, as its compose file describes it."""
    (folder / RESULT).unlink(missing_ok=True)
    clear()  # what a killed run left
    argv = [
        *("docker", "compose", "--file", str(release.folder / "compose.yaml"), "run", "--rm"),
        *("--no-TTY", "--no-deps", "--name", NAME, "--label", "vllm-fleet.job=benchmark"),
        *("--volume", f"{folder}:/results", "--entrypoint", "python3", "vllm", "-"),
    ]
    asked = {
        "bench": name,
        "words": [*words, "--output-json", f"/results/{RESULT}"],
        "config": (release.folder / "vllm.yaml").read_text(encoding="utf-8"),
    }
    text = f"{PROGRAM.read_text(encoding='utf-8')}\nmain({asked!r})\n"
    try:
        done = subprocess.run(
            argv, input=text, capture_output=True, text=True, timeout=BOUND_S, check=False
        )
    except subprocess.TimeoutExpired:
        clear()
        raise HostError(f"vllm bench {name}: no end after {BOUND_S} s") from None
    except SystemExit:  # told to stop: the server comes back, and there is no room for both
        with suppress(HostError):
            clear()
        raise
    found = durable.read_json(folder / RESULT)
    if done.returncode or found is None:
        lines = (done.stderr.strip() or done.stdout.strip() or "no output").splitlines()
        raise HostError(f"vllm bench {name} ended with {done.returncode}: {lines[-1].strip()}")
    return found


def clear() -> None:
    """Remove the benchmark's container, if there is one."""
    command.attempt(["docker", "rm", "--force", NAME])


@contextmanager
def stopped(release: Release, request: dict[str, Any]) -> Iterator[None]:
    """The server is down meanwhile; raises NotBack where it stays so."""
    owner = hostlock.owner(request["who"], request["origin"], "benchmark")
    note = hostlock.take(owner)
    try:
        transaction = Transaction(record(release, owner, [note] if note else []))
        journal.keep(transaction.now)
        bootguard.reset()
        try:
            transaction.stop()
            yield
        finally:
            signal.signal(signal.SIGTERM, signal.SIG_IGN)  # whoever breaks the lock waits for this
            back(transaction)
    finally:
        hostlock.free(owner)


def back(transaction: Transaction) -> None:
    """Serve again, gated; how it ended is in the record and in the audit log."""
    done = transaction.run("start")
    audit.append_once("activate", done)
    if done.outcome != "switched":
        raise NotBack(f"it does not serve again: {done.reason}")


def record(release: Release, owner: hostlock.Owner, notes: list[str]) -> Activation:
    """A change from the release to itself."""
    return Activation(
        id=f"{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}-{uuid.uuid4().hex[:6]}",
        release=release.digest,
        before=release.digest,
        before_previous=releases.linked(layout.PREVIOUS),
        who=owner.who,
        origin=owner.origin,
        why="benchmark.py: offline",
        boot_id=owner.boot_id,
        started=owner.since,
        notes=notes,
        updated=owner.since,
    )
