"""Hostile text in every setting that takes text: refused in clean lines, or only ever a value."""

from __future__ import annotations

import json
from typing import Any

import pytest
import yaml

from fleet import haproxy, host_files, settings
from fleet.catalogue import Catalogue
from fleet.models import file_path
from fleet.problems import SettingsError
from fleet.render import release
from fleet.settings import Settings
from tests.fleet import injection
from tests.fleet.examples import DATA, where
from tests.fleet.payloads import PAYLOADS
from tests.fleet.test_fuzz import clean


def texts(found: Settings) -> dict[str, str]:
    """Every file that a host would get for these settings, by name."""
    host = {
        **host_files.system(found),
        **host_files.preferences(found),
        **host_files.firewall(found, (8000, 8443)),
        **host_files.earlyoom(found),
        **host_files.grub("6.17.0-1032-nvidia", found.kernel_parameters),
    }
    for repository in (host_files.cuda(found), host_files.docker(found)):
        host |= host_files.sources(found, repository)
    return {**host, "haproxy.cfg": haproxy.api(found), **release(found).files}


def shape(name: str, text: str) -> Any:
    """What a file says apart from the words in it: line by line, or as its reader sees it."""
    if name == "compose.yaml":
        service = yaml.safe_load(text)["services"]["vllm"]
        return {key: value for key, value in service.items() if key not in VALUES}
    if name in ("release.json", "vllm.yaml", "vllm.env"):
        return None  # compared with what was given, below
    return [line.split(" ", 1)[0] for line in text.splitlines() if " = " not in line]


VALUES = ("environment", "labels", "volumes", "image")


@pytest.mark.slow
def test_hostile_text_is_refused_or_stays_a_value(files: Catalogue) -> None:
    plain = texts(settings.load("h", DATA, where, catalogue=files))
    cases, accepted, refused = injection.tried(files)
    print(f"{cases} cases: {len(refused)} refused, {len(accepted)} accepted as values")
    assert cases > 15_000 and all(clean(error) for error in refused)
    for key, value in accepted:
        found = settings.load("h", {**DATA, key: value}, where, catalogue=files)
        for name, text in texts(found).items():
            assert shape(name, text) == shape(name, plain[name]), (key, value, name)
        check_values(found)


def check_values(found: Settings) -> None:
    """What was taken as a value is read back as exactly that value, and adds no other."""
    rendered = release(found).files
    compose = yaml.safe_load(rendered["compose.yaml"])["services"]["vllm"]
    environment = {k: v.replace("$$", "$") for k, v in compose["environment"].items()}
    assert environment.items() >= {k: v for k, v in found.vllm_env.items() if v}.items()
    assert all("$" not in v.replace("$$", "") for v in compose["environment"].values())
    config = yaml.safe_load(rendered["vllm.yaml"])
    assert config.items() >= found.vllm_args.items()
    assert json.loads(rendered["release.json"])["mode"] == found.vllm_mode
    lines = rendered["vllm.env"].splitlines()
    assert len(lines) == len(environment) and dict(x.split("=", 1) for x in lines) == environment


@pytest.mark.parametrize("text", [p for p in PAYLOADS if "/" in p or ".." in p or not p.strip()])
def test_no_name_of_a_file_leads_out_of_its_folder(text: str) -> None:
    try:
        path = file_path(text)
    except ValueError:
        return
    assert ".." not in path.split("/") and path[0] != "/" and path.isprintable()


@pytest.mark.parametrize("key", ["hosts", "seccomp-profile", "group"])
def test_docker_is_not_opened_by_its_daemon_json(files: Catalogue, key: str) -> None:
    data = {**DATA, "docker_daemon": {key: ["tcp://0.0.0.0:2375"]}}
    with pytest.raises(SettingsError, match=f"allowed: any key but {key}, which makes others root"):
        settings.load("h", data, where, catalogue=files)
