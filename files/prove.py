"""All that a host can show of its server: answers in every form, and each claim of its release.

Travels on stdin together with its siblings. Read-only but for the requests it makes.
"""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from typing import Any

import answers
import completion
import golden
import observation
import proofs
import release as releases
from errors import HostError


def main(request: dict[str, Any]) -> None:
    """Print one JSON line: completion.py's result, proofs, the server's version, golden answers.

    Keys of ``request``, all optional: those of completion.py, ``golden`` (prompt → answer).
    """
    found: dict[str, Any] = {"proofs": [], "version": "", "golden": {}}
    try:
        told = completion.recorded() if request.get("recorded") else None
        target = completion.target_from(request)
        result = told or completion.complete(target)
        if result.ok and not told:  # of a rank without an API its head tells
            found |= _shown(target, request.get("golden") or {})
    except (HostError, OSError, KeyError, ValueError) as error:
        why = f"no release to check: {' '.join(str(error).split())}"
        result = completion.Result(False, "refused", why, str(request.get("served_name", "")))
    print(json.dumps({**asdict(result), **found}, sort_keys=True), flush=True)


def _shown(target: completion.Target, recorded: dict[str, str]) -> dict[str, Any]:
    """What is worth asking of a server that answers at all; all at once, it answers in batches."""
    release = releases.current()
    with ThreadPoolExecutor() as pool:
        asked = pool.submit(answers.ask_all, target)
        repeated = pool.submit(golden.answers, target)
        seen = observation.observe(release)
        shown = [*asked.result(), *proofs.prove(release.claims, seen)]
        greedy = repeated.result()
    if recorded:
        shown.insert(0, golden.proof(recorded, greedy))
    return {
        "proofs": [asdict(proof) for proof in shown],
        "version": seen.version,
        "golden": greedy,
    }
