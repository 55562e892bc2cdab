"""Models come whole and checked, beside what serves; what is refused is told before any change."""

from __future__ import annotations

from pathlib import Path

import pytest

from lab.state import CONTROL
from lab.testing import Lab
from tests.lab.hub_host import FOLDER, HubHost
from tests.lab.test_deploy import grand_total


@pytest.fixture(scope="module")
def served(deployed: Lab) -> HubHost:
    return HubHost(deployed)


@pytest.fixture
def host(served: HubHost) -> HubHost:
    served.bare()
    return served


def test_a_model_is_downloaded_beside_one_that_serves(host: HubHost, tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("hf_lab_reader\n")
    token.chmod(0o600)
    host.run(hf_token_file=str(token))
    assert host.whole() and host.sh("systemctl is-active vllm") == "active"
    assert host.traces() == ""
    assert host.sh("grep -rl hf_lab_[r]eader /etc /var/lib/vllm-fleet /run/systemd") == ""
    assert host.sh("journalctl -q -o cat | grep -c hf_lab_[r]eader") == "0"
    assert grand_total(host.run().stdout)[1] == 0


def test_what_another_tool_left_is_used_and_only_its_bad_file_is_fetched(host: HubHost) -> None:
    host.run()
    host.sh("rm -r /var/lib/vllm-fleet/models /var/lib/vllm-fleet/verified.json")
    host.log.write_text("")
    host.faults({"match": ".", "do": "status", "status": 503})
    assert grand_total(host.run().stdout)[1] == 1
    assert host.whole() and host.fetched() == []

    shard = f"$(readlink -f {FOLDER}/snapshots/*/model-00003*)"
    host.sh(
        f"touch -r {shard} /tmp/then; printf X | dd of={shard} bs=1 seek=9000 conv=notrunc; "
        f"touch -r /tmp/then {shard}"
    )
    assert grand_total(host.run().stdout)[1] == 0, "as it was by inode, size and time"
    host.faults()
    host.run(deep_check="true")
    assert host.whole() and host.fetched() == ["model-00003"]
    assert host.sh(f"ls {FOLDER}/blobs | grep -c corrupt$") == "1"


def test_prune_lists_what_no_release_needs_and_leaves_the_rest(host: HubHost) -> None:
    host.run()
    host.sh("mkdir -p /srv/models/hub/models--their--model/snapshots/x")
    data = host.data(vllm_model="lab/tiny")
    listed = host.lab.pyinfra("prune.py", "--dry", data=data)
    [told] = [line for line in listed.stdout.splitlines() if "remove weights" in line]
    assert "models--lab--sharded at " in told and told.endswith(": 9.4 MiB"), told
    assert host.whole()
    assert host.lab.pyinfra("prune.py", data=data).returncode == 0
    left = host.sh("ls -d /srv/models/hub/models--*")
    assert "sharded" not in left and "models--lab--tiny" in left and "their--model" in left
    again = host.lab.pyinfra("prune.py", data=data)
    assert again.returncode == 0 and grand_total(again.stdout)[1] == 0, again.stdout[-3000:]


def test_a_dead_cache_server_is_told_before_anything_changes(host: HubHost) -> None:
    line = host.refused("cache: found no answer", cache=f"nfs://{CONTROL}/srv/models")
    assert f"from {CONTROL} on TCP 2049" in line


def test_a_token_that_the_hub_refuses_changes_nothing(host: HubHost, tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("hf_unknown\n")
    token.chmod(0o600)
    host.refused("the Hub does not accept the token", hf_token_file=str(token))
    assert host.sh(f"ls {FOLDER}") == "" and host.fetched() == []
