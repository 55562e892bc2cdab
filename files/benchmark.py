"""Measures the server of this host by vLLM's own `vllm bench serve`, from the serving image.

    benchmark.py REQUEST      a JSON file; run as a transient unit, each line it prints is progress

The request: {digest, hub, tokenizer, inputs, outputs, concurrency, repeats, warmups, prompts,
offline, who, origin}; what was found goes to ``RESULT``. The client runs without a GPU, so it can
load no second model.
"""

from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict
from itertools import product
from pathlib import Path
from typing import Any

import command
import completion
import durable
import gpu
import layout
import metrics
import offline
import release as releases
import speed
import systemd
from errors import HostError, Refused, exit_code
from release import Release

FOLDER = layout.STATE / "benchmark"
RESULT = FOLDER / "result.json"
USER_ID = 2000  # who the client is, as the server in its container
POINT_S = 3600
GENERATED = "vllm:generation_tokens_total"
OTHERS = 0.05  # of the tokens: what more was generated, other clients asked for


def serving(digest: str) -> Release:
    """The release that serves now; Refused unless it is ``digest`` and answers under its name."""
    release = releases.current()
    if release.digest != digest or not systemd.show().serving:
        state = "serves" if systemd.show().serving else "does not serve"
        raise Refused(f"{state} release {release.digest}, wanted {digest}; run deploy.py")
    answer = completion.complete(target(release))
    if not answer.ok:
        raise Refused(f"completion: {answer.detail}")
    return release


def target(release: Release) -> completion.Target:
    """Where and under which name it answers."""
    return completion.Target(release.address, release.port, release.served_name, timeout_s=600)


def points(request: dict[str, Any]) -> Iterator[tuple[int, int, int, int]]:
    """Input length, output length, concurrency, repeat; repeats lie apart in time."""
    lengths = product(request["inputs"], request["outputs"], request["concurrency"])
    swept = list(lengths)
    for repeat in range(request["repeats"]):
        yield from ((*point, repeat) for point in swept)


def argv(
    release: Release, request: dict[str, Any], point: tuple[int, int, int, int], seed: int
) -> list[str]:
    """`docker run` of the client. vLLM on loopback asks for no key."""
    tokens_in, tokens_out, concurrency, _ = point
    address = f"[{release.address}]" if ":" in release.address else release.address
    return [
        *(
            "docker",
            "run",
            "--rm",
            "--name",
            offline.NAME,
            "--network",
            "host",
            "--user",
            f"{USER_ID}:{USER_ID}",
        ),
        *("--label", "vllm-fleet.job=benchmark", "--cap-drop", "ALL"),
        *("--security-opt", "no-new-privileges", "--env", "OPENAI_API_KEY=none"),
        *("--env", "HF_HUB_OFFLINE=1", "--env", "VLLM_NO_USAGE_STATS=1"),
        *("--env", "USER=vllm", "--env", "HOME=/tmp", "--env", "VLLM_CACHE_ROOT=/tmp/vllm"),
        *("--volume", f"{request['hub']}:/models/hub:ro", "--volume", f"{FOLDER}:/results"),
        *("--entrypoint", "vllm", release.image, "bench", "serve", "--backend", "vllm"),
        *("--base-url", f"http://{address}:{release.port}", "--model", release.served_name),
        *("--tokenizer", request["tokenizer"], "--dataset-name", "random"),
        *("--random-input-len", str(tokens_in), "--random-output-len", str(tokens_out)),
        *("--ignore-eos", "--num-prompts", str(max(request["prompts"], concurrency * 4))),
        *("--max-concurrency", str(concurrency), "--num-warmups", str(request["warmups"])),
        *("--seed", str(seed), "--disable-tqdm", "--percentile-metrics", "ttft,tpot,itl,e2el"),
        *("--metric-percentiles", "50,95,99", "--save-result", "--result-dir", "/results"),
        *("--result-filename", "point.json"),
    ]


def measured(
    release: Release, request: dict[str, Any], point: tuple[int, int, int, int]
) -> dict[str, Any]:
    """One point of the sweep, as vLLM wrote it, and what the server itself counted meanwhile."""
    (FOLDER / "point.json").unlink(missing_ok=True)
    offline.clear()  # what a killed run left
    seed = time.time_ns() // 1000 % 2**31  # the same prompts again would come from a prefix cache
    before = generated(release)
    words = argv(release, request, point, seed)
    done = subprocess.run(words, capture_output=True, text=True, timeout=POINT_S, check=False)
    found = durable.read_json(FOLDER / "point.json")
    if done.returncode or found is None:
        lines = (done.stderr.strip() or done.stdout.strip() or "no output").splitlines()
        raise HostError(f"vllm bench serve ended with {done.returncode}: {lines[-1].strip()}")
    keys = dict(zip(("input", "output", "concurrency", "repeat"), point, strict=True))
    after = generated(release)
    asked = int(str(found.get("total_output_tokens") or 0))
    more = None if before is None or after is None else round(after - before - asked)
    warmed = (request["warmups"] + 1) * point[1]
    return {**keys, "seed": seed, "others_tokens": more and max(0, more - warmed), "result": found}


def generated(release: Release) -> float | None:
    """Tokens that the server has generated for anyone; None where it does not say."""
    found = metrics.fetch(release.address, release.port)
    return dict(found.progress).get(GENERATED) if found else None


def faults(point: dict[str, Any]) -> list[str]:
    """Why this point is worth little."""
    result, found = point["result"], []
    if result.get("failed"):
        found.append(f"{result['failed']} of its requests failed")
    if (point["others_tokens"] or 0) > OTHERS * result["total_output_tokens"]:
        found.append(f"the server generated {point['others_tokens']} tokens for others meanwhile")
    name = "input {input}, output {output}, concurrency {concurrency}".format(**point)
    return [f"{name}: {text}" for text in found]


def conditions(release: Release) -> dict[str, Any]:
    """The host before the first request: GPU, load, and requests of others."""
    try:
        card: dict[str, str] | str = gpu.state()
    except HostError as error:
        card = str(error)
    load = metrics.fetch(release.address, release.port)
    return {
        "gpu": card,
        "load_average": os.getloadavg()[0],
        "requests": load.running + load.waiting if load else None,
    }


def key(release: Release) -> dict[str, Any]:
    """What the figures belong to."""
    told = Path("/proc/driver/nvidia/version")
    driver = next(iter(told.read_text().splitlines()), "") if told.exists() else ""
    words = [word for word in driver.split() if word[:1].isdigit() and "." in word]
    kernel = command.run(["uname", "-r"]).strip() or platform.release()
    facts = {name: asdict(release)[name] for name in ("mode", "model", "revision", "image")}
    return {**facts, "release": release.digest, "driver": next(iter(words), None), "kernel": kernel}


def run(request: dict[str, Any]) -> dict[str, Any]:
    """The whole sweep."""
    release = serving(request["digest"])
    found: dict[str, Any] = {"key": key(release), "before": conditions(release), "points": []}
    problems = []
    if found["before"]["requests"]:
        problems.append(f"{found['before']['requests']} requests of others ran before it began")
    print("the gate's own measure", flush=True)
    with gpu.Watch() as watch:
        load = speed.Load()
        found["gate"] = {**asdict(load), "samples": speed.measure(target(release), load)}
    problems += gpu.problems(watch)
    for line in problems:
        print(line, flush=True)
    asked = list(points(request))
    for number, point in enumerate(asked, 1):
        text = "input {}, output {}, concurrency {}, repeat {}".format(*point)
        print(f"{number} of {len(asked)}: {text}", flush=True)
        one = measured(release, request, point)
        found["points"].append(one)
        problems += faults(one)
    if request["offline"]:
        try:
            found["offline"] = offline.measured(release, request, FOLDER)
            found["failed"] = "; ".join(filter(None, (o.get("failed") for o in found["offline"])))
        except offline.NotBack:
            raise
        except HostError as error:  # the sweep was measured all the same
            found["failed"] = str(error)
    return {**found, "problems": problems, "finished": time.time()}


def main() -> int:
    """Refused unless the host serves; the result is on disk when this ends with 0."""
    try:
        request = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    except (IndexError, OSError, ValueError) as error:
        raise Refused(f"request: found none that can be read ({error})") from None
    shutil.rmtree(FOLDER, ignore_errors=True)
    FOLDER.mkdir(parents=True)
    os.chown(FOLDER, USER_ID, USER_ID)  # the client writes there
    try:
        durable.write_json(RESULT, run(request))
    finally:
        offline.clear()
    print("done", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(exit_code("benchmark", main))
