"""A mistake in a value is one line that names file, key, what was found and what is allowed."""

from __future__ import annotations

from pathlib import Path

import pytest

from fleet import host_packages, settings
from fleet.serving import Catalogue
from tests.fleet import examples
from tests.fleet.examples import DATA, load, problems

ALL = "group_data/all.py: "
MODES = (
    "deepseek, lab-alternative, lab-speculative, lab-standard, long-context, nvfp4, speculative, "
    "standard, ultimate"
)


def test_good_data_loads_and_joins_mode_and_model(files: Catalogue) -> None:
    found = load(files, port=9000)
    assert (found.host, found.port, found.mode.memory_fraction) == ("spark-01", 9000, 0.8)
    assert [lock.repo for lock in found.locks] == ["org/dense"]


def test_without_a_key_only_the_networks_named_may_reach_the_api(files: Catalogue) -> None:
    beyond = {"listen": "0.0.0.0", "api_auth": "none"}
    [line] = problems(files, **beyond)
    assert line.startswith(f"{ALL}api_auth: found 'none' while listen is 0.0.0.0; allowed: 'key', ")
    named = {"firewall": True, "allowed_sources": ["192.0.2.0/24"]}
    assert load(files, **beyond, **named).exposed
    assert not load(files, api_auth="none").exposed


def test_the_draft_is_one_of_the_models_to_stage(files: Catalogue) -> None:
    found = load(files, vllm_mode="speculative")
    assert [lock.repo for lock in found.locks] == ["org/dense", "org/draft"]


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (
            {"vllm_mode": "nvpf4"},
            f"vllm_mode: found 'nvpf4', allowed: {MODES}; did you mean 'nvfp4'?",
        ),
        ({"vllm_mode": 4}, "vllm_mode: found 4, allowed: text"),
        (
            {"vllm_model": "org/dens"},
            "vllm_model: found 'org/dens', allowed: a model with a lock in models/; did you mean "
            "'org/dense'? make one with: fleet lock org/dens",
        ),
        (
            {"vllm_model": "../../etc/passwd"},
            "vllm_model: found '../../etc/passwd', allowed: ORG/NAME, a repository of the Hub",
        ),
        (
            {"vllm_image": "vllm/vllm-openai:latest"},
            "vllm_image: found 'vllm/vllm-openai:latest', allowed: an image pinned by digest, "
            "NAME@sha256:<64 hex digits>; print one with: fleet lock image NAME:TAG",
        ),
        (
            {"gpu_clocks_mhz": [3000, 200]},
            "gpu_clocks_mhz: found a list, allowed: two clocks in MHz, the lower one first, such "
            "as [300, 2200]",
        ),
        (
            {"listen": "0.0.0.0", "port": 8443},
            "api_port: found 8443, which is port too; allowed: a port of its own",
        ),
        ({"port": 8473}, "fan_out_port: found 8473, which is port too; allowed: a port of its own"),
        ({"port": "8000"}, "port: found '8000', allowed: a whole number"),
        (
            {"journal_max_use": "lots"},
            "journal_max_use: found 'lots', allowed: a size such as 2G or 500M",
        ),
        (
            {"driver_branch": "xyz"},
            "driver_branch: found 'xyz', allowed: three digits, such as 580",
        ),
        (
            {"cache_server": "spark-01"},
            "cache_server: found 'spark-01', allowed: with cache only, the nfs://SERVER/PATH where "
            "the others mount the export",
        ),
        (
            {"firewall": True},
            "allowed_sources: found an empty list, allowed: at least one network while firewall is "
            "on, ['192.0.2.0/24']",
        ),
        (
            {"allowed_sources": "10.0.0.0/24"},
            "allowed_sources: found '10.0.0.0/24', allowed: a list: [\"10.0.0.0/24\"]; with "
            "--data: '[\"10.0.0.0/24\"]'",
        ),
        ({"port": 80}, "port: found 80, allowed: 1024 or more"),
        ({"port": True}, "port: found True, allowed: a whole number"),
        ({"prot": 8000}, "prot: unknown key; did you mean 'port'?"),
        ({"wave_size": 0.5}, "wave_size: found 0.5, allowed: a whole number or text"),
        (
            {"wave_size": "0%"},
            "wave_size: found '0%', allowed: a number of hosts from 1 up, or a percentage such as "
            "'25%'",
        ),
        ({"on_failure": "panic"}, "on_failure: found 'panic', allowed: 'revert' or 'stop'"),
        (
            {"listen": "all"},
            "listen: found 'all', allowed: an IP address of the host, such as 127.0.0.1",
        ),
        (
            {"listen": "::1%x --evil\nUser=root"},
            "listen: found '::1%x --evil\\nUser=root', allowed: an address without a scope, which "
            "begins at '%'; leave it out",
        ),
        (
            {"metrics_sources": ["fe80::1%eth0"]},
            "metrics_sources[0]: found 'fe80::1%eth0', allowed: an address without a scope, which "
            "begins at '%'; leave it out",
        ),
        (
            {"models_dir": "/srv/../etc"},
            "models_dir: found '/srv/../etc', allowed: an absolute path of letters, digits, '.', "
            "'_' and '-'",
        ),
        (
            {"hf_endpoint": "https://me:pw@hub.example"},
            "hf_endpoint: found what looks like a secret (not repeated here), allowed: an https:// "
            "address without user or password",
        ),
        (
            {"memory_fraction": 0.95},
            "memory_fraction: found 0.95, allowed: more than 0, at most 0.90 (GB10 shares its "
            "memory with the system: above that it freezes or resets)",
        ),
        (
            {"vllm_args": {"max_model_len": 1024}},
            "vllm_args.max_model_len: found 'max_model_len', allowed: vLLM's long name, lower "
            "case, with dashes; did you mean 'max-model-len'?",
        ),
        (
            {"vllm_args": {"-cc.cudagraph_mode": "FULL"}},
            "vllm_args.-cc.cudagraph_mode: found '-cc.cudagraph_mode', allowed: a nested mapping "
            "under 'cc'",
        ),
        (
            {"vllm_args": {"api-key": "x"}},
            "vllm_args.api-key: found 'api-key', allowed: any argument this tool does not own; a "
            "key in arguments can be read by every user of the host",
        ),
        (
            {"vllm_args": {"swap-space": 4}},
            "vllm_args.swap-space: found 'swap-space', which vLLM no longer has; instead: nothing, "
            "the V1 engine recomputes instead of swapping",
        ),
        (
            {"vllm_args": {"chat-template": "--model=evil"}},
            "vllm_args.chat-template: found '--model=evil', allowed: text that is not empty and "
            "begins with no dash",
        ),
        (
            {"vllm_args": {"allowed-origins": []}},
            "vllm_args.allowed-origins: found an empty list, allowed: a list that is not empty "
            "(vLLM drops an empty one in silence)",
        ),
        (
            {"vllm_args": ["--max-model-len", "3"]},
            "vllm_args: found a list, allowed: a mapping",
        ),
        (
            {"vllm_env": {"VLLM_USE_V1": "1"}},
            "vllm_env.VLLM_USE_V1: found 'VLLM_USE_V1', which vLLM does not know; instead: "
            "nothing, V1 is the only engine",
        ),
        ({"vllm_env": {"A": 1}}, "vllm_env.A: found 1, allowed: text"),
        (
            {"vllm_env": {"A": "x\nB=y"}},
            "vllm_env.A: found 'x\\nB=y', allowed: one line of at most 4096 printable characters",
        ),
        (
            {"vllm_env": {"http_proxy": "http://ann:sesame@proxy:3128"}},
            "vllm_env.http_proxy: found what looks like a secret (not repeated here), allowed: no "
            "secret, which every user of the host could read",
        ),
        (
            {"vllm_args": {"chat-template": "sk-abcdefghijklmnop"}},
            "vllm_args.chat-template: found what looks like a secret (not repeated here), allowed: "
            "no secret, which every user of the host could read",
        ),
        (
            {"vllm_env": {"MY_PASSWD": "x"}},
            "vllm_env.MY_PASSWD: found 'MY_PASSWD', allowed: no secrets; hf_token_file names the "
            "file that holds a token",
        ),
        (
            {"vllm_env": {"HF_TOKEN": "of mine"}},
            "vllm_env.HF_TOKEN: found 'HF_TOKEN', allowed: no secrets; hf_token_file names the "
            "file that holds a token",
        ),
        (
            {"hf_token_file": "hf_abcdefghijklmnop"},
            "hf_token_file: found what looks like a secret (not repeated here), allowed: the path "
            "of a file that holds it, on the control side",
        ),
    ],
)
def test_a_mistake_is_told_exactly(files: Catalogue, data: dict[str, object], problem: str) -> None:
    assert problems(files, **data) == [ALL + problem]


def test_all_mistakes_of_a_host_are_told_at_once(files: Catalogue) -> None:
    found = problems(files, vllm_mode="nope", vllm_model="org/nope", port="x", nonsense=1)
    assert {line.split(": ")[1] for line in found} == {
        "vllm_mode",
        "vllm_model",
        "port",
        "nonsense",
    }


@pytest.mark.parametrize("key", sorted(DATA))
def test_a_missing_pin_is_told(files: Catalogue, key: str) -> None:
    data = {name: value for name, value in DATA.items() if name != key}
    with pytest.raises(settings.SettingsError) as caught:
        settings.load("h", data, examples.where, catalogue=files)
    (problem,) = caught.value.problems
    assert problem.startswith(f"{ALL}{key}: missing, wanted: ")


def test_each_problem_names_the_place_its_key_came_from(files: Catalogue) -> None:
    places = {"port": "inventory.py", "vllm_mode": "--data"}
    with pytest.raises(settings.SettingsError) as caught:
        data = {**DATA, "port": 1, "vllm_mode": "x"}
        settings.load("h", data, lambda key: places.get(key, "?"), catalogue=files)
    assert sorted(line.split(":")[0] for line in caught.value.problems) == [
        "--data",
        "inventory.py",
    ]


def test_pyinfras_own_keys_are_left_alone(files: Catalogue) -> None:
    assert not problems(files, ssh_user="fleet", _sudo=True, fake_responses={"a": "b"})


def test_settings_cannot_be_changed_afterwards(files: Catalogue) -> None:
    with pytest.raises(ValueError, match="frozen"):
        load(files).port = 1  # type: ignore[misc]


def test_a_model_that_does_not_fit_is_refused_with_numbers(tmp_path: Path) -> None:
    folder = examples.catalogue(tmp_path)
    path = tmp_path / "org--dense.yaml"
    path.write_text(path.read_text().replace(str(16 * examples.GIB), str(800 * examples.GIB)))
    (problem,) = problems(folder, vllm_args={"load-format": "auto"})
    assert problem.startswith(f"{ALL}vllm_model: org/dense: weights take 800.0 GiB on each of 1 ")
    assert "what fits: " in problem


def test_a_mappings_key_and_its_value_are_told_apart(files: Catalogue) -> None:
    assert problems(files, sysctls={"a b": 1}) == [
        f"{ALL}sysctls.a b: found 'a b', allowed: a sysctl's name, such as vm.swappiness",
        f"{ALL}sysctls.a b: found 1, allowed: text",
    ]


def test_a_port_that_nothing_listens_on_may_be_equal(files: Catalogue) -> None:
    assert load(files, port=8443).port == 8443
    assert load(files, port=8473, fan_out=False).port == 8473


def test_the_packages_that_the_steps_need_are_there_whatever_a_person_wants(
    files: Catalogue,
) -> None:
    needed = ["ca-certificates", "curl", "gnupg", "pciutils"]
    assert [*host_packages.base(load(files))] == needed
    assert [*host_packages.base(load(files, base_packages=[]))] == needed
    assert [*host_packages.base(load(files, base_packages=["vim"]))] == [*needed, "vim"]
