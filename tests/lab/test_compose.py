"""Compose on a host reads what was rendered, whatever text the environment holds."""

from __future__ import annotations

from pathlib import Path

import yaml

from fleet.render import release
from lab.testing import Lab
from tests.fleet.examples import catalogue, load
from tests.fleet.test_render import NASTY, PAIRS

HOST = "spark-01"


def test_compose_itself_accepts_every_mode(deployed: Lab, tmp_path: Path) -> None:
    files, nasty = catalogue(tmp_path), {"A": " ".join(NASTY)}
    for mode, model in PAIRS.items():
        settings = load(files, vllm_mode=mode, vllm_model=model, vllm_env=nasty)
        deployed.write(HOST, "/tmp/compose.yaml", release(settings).files["compose.yaml"])
        read = deployed.text(HOST, "docker compose --file /tmp/compose.yaml config")
        service = yaml.safe_load(read)["services"]["vllm"]
        assert service["environment"]["A"].replace("$$", "$") == nasty["A"], mode
