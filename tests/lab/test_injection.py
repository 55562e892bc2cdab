"""Hostile text in every setting, against a host: nothing runs, nothing changes, nothing breaks."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from fleet.settings import Data
from lab.testing import REPO, Done, Lab
from tests.fleet.payloads import MARK, PAYLOADS
from tests.lab.test_deploy import TREE, standin

HOST = "spark-01"
FILES = ("extra_ca", "hf_token_file", "api_key_file", "secrets_dir")
# Accepted anywhere in a value: what is one printable line.
LINES = [p for p in PAYLOADS if p.isprintable() and p.strip() == p and 0 < len(p) < 100]


def keys() -> list[str]:
    """Every setting, by the name that a person writes."""
    given = ("vllm_mode", "vllm_image")  # by --data, which goes first
    return [f.alias or n for n, f in Data.model_fields.items() if n not in given]


def run(lab: Lab, folder: Path, data: dict[str, Any], deploy: str = "deploy.py") -> Done:
    """``deploy`` with ``data`` as a person's own file has it: any Python text, byte for byte."""
    inventory = folder / "inventory.py"
    inventory.write_text(
        f"import sys\nsys.path.insert(0, {str(REPO)!r})\n"
        "from lab import inventory as lab_inventory\n"
        f"MORE = {data!r}\n"
        "spark = [(name, {**known, **MORE}) for name, known in lab_inventory.spark]\n"
    )
    group = folder / "group_data"
    group.mkdir(exist_ok=True)
    for name, place in (("all", "group_data/all.py"), ("spark", "lab/group_data/all.py")):
        (group / f"{name}.py").write_text((REPO / place).read_text())
    return lab.pyinfra(deploy, inventory=str(inventory), data=standin(lab))


def tree(lab: Lab) -> set[str]:
    """Every file that a deploy could have touched, with mode, size and time."""
    return set(lab.text(HOST, TREE.removesuffix(" | sha256sum")).splitlines())


def untouched(lab: Lab) -> bool:
    return not Path(MARK).exists() and lab.run(HOST, f"ls {MARK}", check=False).returncode != 0


def test_hostile_text_in_every_setting_stops_before_the_first_connection(
    deployed: Lab, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # After five minutes of serving it removes its note of starts (files/bootguard.py, STEADY_S).
    deployed.run(HOST, "systemctl stop vllm")
    before = tree(deployed)
    refused = 0
    for payload in PAYLOADS:
        data = {key: payload for key in keys()}
        done = run(deployed, tmp_path, data)
        assert done.returncode == 1, done.stdout[-2000:]
        assert "no host was contacted" in done.stdout and "Traceback" not in done.stdout
        found = re.search(r"(\d+) mistakes? in the settings", done.stdout)
        assert found
        refused += int(found[1])
    with capsys.disabled():
        print(f"\n{len(PAYLOADS)} runs, {len(PAYLOADS) * len(keys())} texts, {refused} refusals")
    assert untouched(deployed)
    assert tree(deployed) ^ before == set()


@pytest.mark.parametrize("key", FILES)
def test_a_hostile_name_of_a_file_is_a_name(deployed: Lab, tmp_path: Path, key: str) -> None:
    """No shell sees it: a file of that name is looked for, and told as missing."""
    more = {"tls": "own-ca", "listen": "0.0.0.0"} if key in ("api_key_file", "secrets_dir") else {}
    hostile = f"/proc/no/$(touch {MARK})"
    deployed.run(HOST, "systemctl stop vllm; rm -rf /srv/models/hub")
    done = run(deployed, tmp_path, {"secrets_dir": str(tmp_path), **more, key: hostile})
    assert done.returncode != 0 and "Traceback" not in done.stdout, done.stdout[-3000:]
    assert hostile in done.stdout and untouched(deployed)


def test_what_is_a_value_arrives_as_that_value(deployed: Lab, tmp_path: Path) -> None:
    """All lines at once in the environment, the last in arguments, Docker's labels, the audit."""
    wanted = {f"HOSTILE_{number}": line for number, line in enumerate(LINES)}
    done = run(
        deployed,
        tmp_path,
        {"vllm_env": wanted, "docker_daemon": {"labels": ["hostile=$(touch x);`id`"]}},
    )
    assert done.returncode == 0, done.stdout[-5000:]
    found = json.loads(deployed.text(HOST, "docker inspect vllm"))[0]
    got = dict(pair.split("=", 1) for pair in found["Config"]["Env"])
    assert {name: got[name] for name in wanted} == wanted
    assert not found["HostConfig"]["Privileged"] and found["HostConfig"]["ReadonlyRootfs"]
    assert found["HostConfig"]["CapDrop"] == ["ALL"]
    why = f"x' \" ; touch {MARK} # $(touch {MARK}) `touch {MARK}`"
    done = deployed.pyinfra("switch.py", data={**standin(deployed), "reason": why})
    assert done.returncode == 0, done.stdout[-3000:]
    audit = deployed.text(HOST, "tail -n 1 /var/log/vllm-fleet/audit.jsonl")
    assert why in json.loads(audit)["why"]
    assert untouched(deployed)
