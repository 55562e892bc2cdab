"""What a host is asked to take away when its weights are not its own alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from deploys import prune, remove
from tests.deploys.command_line import fake_inventory, run
from tests.fleet import examples

CACHE = "nfs://192.0.2.10/srv/models"
LINE = f"weights stay: other hosts may serve from {CACHE}; remove what none of them needs by hand"
NOTHING = {"fake_responses": {"python3": '{"found": []}'}}


@pytest.mark.parametrize(("cache", "go"), [(None, True), (CACHE, False)])
def test_the_weights_of_a_shared_cache_are_not_touched(
    tmp_path: Path, cache: str | None, go: bool
) -> None:
    asked = {"remove_weights": True, "remove_images": True}
    settings = examples.load(examples.catalogue(tmp_path), cache=cache, **asked)
    assert remove.request(settings)["weights"] is go
    assert remove.request(settings)["images"] is True
    assert prune.request(settings)["weights"] is go


@pytest.mark.parametrize(
    "words",
    [("prune.py",), ("remove.py", "--data", "remove_weights=true")],
    ids=["prune", "remove"],
)
def test_a_line_says_that_shared_weights_stay(tmp_path: Path, words: tuple[str, ...]) -> None:
    hosts = fake_inventory(tmp_path, 1, cache=CACHE, **NOTHING)
    done = run(hosts, *words)
    assert done.returncode == 0 and LINE in done.stdout, done.stdout
    own = fake_inventory(tmp_path, 1, **NOTHING)
    done = run(own, *words)
    assert done.returncode == 0 and "weights stay" not in done.stdout, done.stdout
