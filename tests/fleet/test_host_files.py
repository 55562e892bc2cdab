"""The texts that the host half writes."""

from __future__ import annotations

import configparser
import json
import subprocess
from pathlib import Path

import own_files
import pytest

from fleet import host_docker, host_files
from fleet.docker_facts import Docker
from fleet.serving import Catalogue
from tests.fleet.examples import FINGERPRINT, load, problems


def test_repositories_have_the_vendors_addresses_for_the_architecture(files: Catalogue) -> None:
    settings = load(files)
    [cuda] = host_files.sources(settings, host_files.cuda(settings)).values()
    assert "/ubuntu2404/sbsa/" in cuda and "Architectures: arm64" in cuda
    assert FINGERPRINT in cuda
    [docker] = host_files.sources(settings, host_files.docker(settings)).values()
    assert "Components: stable" in docker
    lab = load(files, host_arch="amd64")
    [cuda] = host_files.sources(lab, host_files.cuda(lab)).values()
    assert "/ubuntu2404/x86_64/" in cuda


def test_pins_prefer_ubuntus_own_build_over_the_branch_pin(files: Catalogue) -> None:
    [text] = host_files.preferences(load(files)).values()
    stanzas = [s for s in text.split("\n\n") if "Pin-Priority: 1002" in s]
    assert any("Pin: version 580.159.03-0ubuntu*" in s for s in stanzas)
    assert any("Pin: version 6.17.0-1032.32" in s for s in stanzas)


def test_units_are_well_formed(files: Catalogue) -> None:
    settings = load(files, gpu_clocks_mhz=(300, 2200))
    texts = host_files.system(settings) | host_files.watchdog()
    units = {p: t for p, t in texts.items() if p.startswith(host_files.UNITS)}
    assert len(units) == 4
    for text in units.values():
        parser = configparser.RawConfigParser(strict=False)
        parser.read_string(text)
        assert parser.sections()
    clocks = units[f"{host_files.UNITS}/{host_files.GPU_CLOCKS}"]
    assert "nvidia-smi -lgc 300,2200" in clocks


def test_needrestart_leaves_what_is_ours_to_the_waves(files: Catalogue, tmp_path: Path) -> None:
    """Perl reads the file as needrestart does: a unit that a pattern with 0 fits is left alone."""
    snippet = tmp_path / "50-vllm-fleet.conf"
    snippet.write_text(host_files.system(load(files))[host_files.NEEDRESTART])
    script = (
        "our %nrconf = (override_rc => {qr(^dbus) => 0}); defined do shift or die $@; "
        "for my $unit (@ARGV) { for (keys %{$nrconf{override_rc}}) { "
        'print "$unit\\n" if $unit =~ /$_/ && !$nrconf{override_rc}{$_} } }'
    )
    units = ("dbus.service", "ssh.service", "vllm.service", "vllm-fleet-activate.service")
    told = subprocess.run(
        ("perl", "-e", script, snippet, *units), capture_output=True, text=True, check=True
    ).stdout
    assert told.split() == ["dbus.service", "vllm.service", "vllm-fleet-activate.service"]
    assert host_files.NEEDRESTART in host_files.owned()
    assert own_files.marked(snippet)


def test_a_persons_sysctls_win_over_ours(files: Catalogue) -> None:
    settings = load(files, sysctls={"vm.swappiness": "1", "net.core.somaxconn": "4096"})
    text = host_files.system(settings)[host_files.SYSCTLS]
    assert "vm.swappiness = 1\n" in text and "net.core.somaxconn = 4096\n" in text


def test_daemon_json_keeps_what_is_not_ours(files: Catalogue) -> None:
    settings = load(files)
    foreign = {
        "insecure-registries": ["r.example"],
        "features": {"containerd-snapshotter": True},
        "log-driver": "journald",
    }
    text = host_docker.changed(json.dumps(foreign), settings)
    assert text is not None
    assert json.loads(text) == {
        **foreign,
        "features": {"containerd-snapshotter": True, "cdi": True},
        "live-restore": True,
    }
    assert host_docker.changed(text, settings) is None


def test_a_registry_of_ours_joins_those_that_are_known(files: Catalogue) -> None:
    settings, more = load(files), {"insecure-registries": ["192.0.2.1:5000"]}
    text = host_docker.changed('{"insecure-registries": ["r.example"]}', settings, more)
    assert text is not None
    assert json.loads(text)["insecure-registries"] == ["r.example", "192.0.2.1:5000"]
    assert host_docker.changed(text, settings, more) is None


def test_a_persons_docker_keys_win(files: Catalogue) -> None:
    settings = load(files, docker_daemon={"live-restore": False, "mtu": 9000})
    found = host_docker.merged('{"mtu": 1500}', settings)
    assert found["live-restore"] is False and found["mtu"] == 9000


def test_a_restart_that_would_end_a_container_of_others_is_forbidden() -> None:
    ours = {"id": "1", "name": "vllm", "labels": {"vllm-fleet.release": "a"}, "state": "running"}
    ended = {"id": "2", "name": "old", "state": "exited"}
    other = {"id": "3", "name": "web", "state": "running"}
    used = Docker.model_validate({"containers": [ours, ended, other]})
    unused = Docker.model_validate({"containers": [ours, ended]})
    told = host_docker.ended(used, '{"live-restore": false}')
    assert told.startswith("docker: found live-restore off and web running")
    assert host_docker.ended(used, None) == told
    assert host_docker.ended(used, '{"live-restore": true}') == ""
    assert host_docker.ended(unused, '{"live-restore": false}') == ""


@pytest.mark.parametrize(
    ("data", "told"),
    [
        ({"driver_version": "590.48.01"}, "driver_version: found '590.48.01', allowed"),
        ({"kernel_version": "6.17"}, "kernel_version: found '6.17', allowed"),
        ({"nvidia_key_fingerprint": "abc"}, "40 hexadecimal digits"),
        ({"allowed_sources": ["192.0.2.1/24"]}, "192.0.2.0/24"),
        ({"host_arch": "x86_64"}, "'arm64' or 'amd64'"),
        ({"swappiness": 500}, "at most 200"),
        ({"swapiness": 5}, "did you mean 'swappiness'?"),
    ],
)
def test_a_mistake_is_told_with_key_and_what_is_allowed(
    files: Catalogue, data: dict[str, object], told: str
) -> None:
    [line] = problems(files, **data)
    assert told in line
