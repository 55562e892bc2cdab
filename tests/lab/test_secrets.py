"""A planted API key and Hub token: where they are after a deploy and a switch, and a rotation."""

from __future__ import annotations

import os
import stat
import time
from pathlib import Path

import pytest

from fleet import vault
from fleet.access import AccessSettings
from lab.testing import REPO, Lab
from tests.lab import leaks
from tests.lab.test_deploy import standin
from tests.lab.test_proxy import bearer, status_of

HOSTS = 2
KEY = "planted-api-key-7fQ2mXv9LbT4sWz8"
TOKEN = "hf_lab_reader"  # the one that the lab's Hub knows
DECOY = "decoy-that-must-be-found-4821"


@pytest.fixture(scope="module")
def access(tmp_path_factory: pytest.TempPathFactory) -> AccessSettings:
    folder = tmp_path_factory.mktemp("control")
    for name, text in (("key", KEY), ("token", TOKEN)):
        vault.write(folder / name, f"{text}\n")
    return AccessSettings(secrets_dir=str(folder / "made"), api_key_file=str(folder / "key"))


def data(lab: Lab, access: AccessSettings, **more: str) -> dict[str, str]:
    return {
        **standin(lab),
        "listen": "0.0.0.0",
        "secrets_dir": access.secrets_dir,
        "api_key_file": str(access.api_key_file),
        "hf_token_file": str(Path(str(access.api_key_file)).with_name("token")),
        **more,
    }


def test_no_secret_is_anywhere_but_in_its_own_file(deployed: Lab, access: AccessSettings) -> None:
    """Deploy with a download, then a switch, all told as loudly as pyinfra can."""
    wanted = {"key": KEY, "token": TOKEN, "decoy": DECOY}
    for host in deployed.names:
        deployed.run(
            host, "systemctl stop vllm; rm -rf /srv/models/hub /var/lib/vllm-fleet/verified*"
        )
    samplers = {host: leaks.Sampler(deployed, host, wanted) for host in deployed.names}
    here = leaks.ControlSide([KEY, TOKEN])
    here.start()
    said = []
    for deploy, more in (("deploy.py", {}), ("switch.py", {"vllm_args": '{"max-model-len": 96}'})):
        done = deployed.pyinfra(
            deploy, "-vvv", "--debug", "--diff", data=data(deployed, access, **more)
        )
        assert done.returncode == 0, done.stdout[-4000:]
        said.append(done.stdout)
    for host in deployed.names:
        deployed.run(host, f"timeout 1 tail -f /dev/null --pid=1 {DECOY}", check=False)
        deployed.run(host, f"sh -c 'sleep 1; : {DECOY}'")
    here.end()
    for host, sampler in samplers.items():
        rounds, seen, found = sampler.end()
        print(f"{host}: {rounds} rounds over {seen} processes")
        assert rounds > 100 and seen > 100
        assert {name for name, _, _ in found} == {"decoy"}, found
    print(f"control side: {here.rounds} rounds")
    assert here.rounds > 50 and not here.found
    for host in deployed.names:
        print(f"{host}: {leaks.places(deployed, host)}")
        assert leaks.on_host(deployed, host, [KEY, TOKEN]) == []
    assert not any(secret in text for secret in (KEY, TOKEN) for text in said)
    kept = [REPO / "evidence", Path(access.secrets_dir)]
    assert leaks.on_control_side([f for f in kept if f.exists()], [KEY, TOKEN]) == []
    debug = REPO / "pyinfra-debug.log"
    assert not debug.exists() or KEY not in debug.read_text(errors="replace")


def test_what_lies_on_either_side_is_for_its_owner_alone(
    deployed: Lab, access: AccessSettings
) -> None:
    for host in deployed.names:
        found = deployed.text(host, "find /etc/vllm-fleet/haproxy -printf '%m %u %y\\n'")
        assert set(found.splitlines()) <= {"700 root d", "600 root f", "755 root d"}, found
    made = Path(access.secrets_dir)
    modes = {stat.S_IMODE(os.stat(path).st_mode) for path in made.rglob("*") if path.is_file()}
    assert modes == {0o600, 0o644}  # 644: the authority's certificate, which clients get
    assert stat.S_IMODE(made.stat().st_mode) == 0o700


def test_a_new_key_goes_through_the_waves(deployed: Lab, access: AccessSettings) -> None:
    switched = data(deployed, access, vllm_args='{"max-model-len": 96}')
    before = {h: deployed.text(h, "docker inspect -f '{{.Id}}' vllm") for h in deployed.names}
    done = deployed.pyinfra("rotate_key.py", data={**switched, "wave_size": "1"})
    assert done.returncode == 0, done.stdout[-6000:]
    [key] = vault.keys(access)
    assert key != KEY and KEY not in done.stdout and key not in done.stdout
    assert "wave 2 of 2" in done.stdout
    for host in deployed.names:
        assert status_of(deployed, access, host, *bearer(key)) == 200
        assert status_of(deployed, access, host, *bearer(KEY)) == 401
        assert deployed.text(host, "docker inspect -f '{{.Id}}' vllm") == before[host]
    assert leaks.on_host(deployed, deployed.names[0], [key]) == []


def test_with_overlap_the_old_key_lives_until_the_next_rotation(
    deployed: Lab, access: AccessSettings
) -> None:
    switched = data(deployed, access, vllm_args='{"max-model-len": 96}')
    [old] = vault.keys(access)
    done = deployed.pyinfra("rotate_key.py", data={**switched, "key_overlap": "true"})
    assert done.returncode == 0, done.stdout[-6000:]
    new, kept = vault.keys(access)
    assert kept == old != new
    assert {status_of(deployed, access, "spark-02", *bearer(k)) for k in (old, new)} == {200}


def test_a_rotation_that_cannot_reach_all_leaves_the_old_key(
    deployed: Lab, access: AccessSettings
) -> None:
    switched = data(deployed, access, vllm_args='{"max-model-len": 96}')
    keys = vault.keys(access)
    done = deployed.pyinfra("rotate_key.py", "--limit", "spark-01", data=switched)
    assert done.returncode == 1 and "spark-02 share it and are not in this run" in done.stdout
    assert vault.keys(access) == keys
    deployed.run("spark-02", "systemctl stop vllm-fleet-haproxy@api")
    began = time.monotonic()
    done = deployed.pyinfra("rotate_key.py", data=switched)
    assert done.returncode != 0 and time.monotonic() - began < 120, done.stdout[-3000:]
    assert vault.keys(access) == keys
    assert status_of(deployed, access, "spark-01", *bearer(keys[0])) == 200
