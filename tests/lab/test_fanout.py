"""One host takes the model from the Hub, the others from each other; nobody else gets a byte."""

from __future__ import annotations

import pytest

from lab.testing import Lab
from tests.lab.fanout import PORT, SHARDS, UNITS, Sharing
from tests.lab.test_deploy import grand_total

HOSTS = 3
FIRST, SECOND, THIRD = "spark-01", "spark-02", "spark-03"
GREETING = "import socket; s = socket.create_connection(('{0}', {1}), 5); print(len(s.recv(99)))"
GUESS = (
    "import socket; s = socket.create_connection(('{0}', {1}), 5); s.recv(99); "
    'd = {{"sha256": "{2}", "offset": 0, "settled": False, "code": "0" * 64}}; '
    "import json; s.sendall(json.dumps(d).encode() + b'\\n'); print(len(s.recv(99)))"
)


@pytest.fixture(scope="module")
def sharing(deployed: Lab) -> Sharing:
    shared = Sharing(deployed)
    shared.bare()
    done = shared.run()
    assert done.returncode == 0, done.stdout[-8000:]
    return shared


def test_the_hub_gives_each_file_once_and_every_host_has_it(sharing: Sharing) -> None:
    assert all(sharing.whole(host) for host in sharing.lab.names)
    fetched = sharing.fetched()
    assert len(fetched) == SHARDS and set(fetched.values()) == {1}, fetched
    again = sharing.run()
    assert again.returncode == 0 and grand_total(again.stdout)[1] == 0, again.stdout[-4000:]


def test_nobody_outside_reads_it_and_nobody_inside_without_the_secret(sharing: Sharing) -> None:
    address = sharing.lab.state.host(FIRST).address
    assert sharing.sh(FIRST, f"systemctl is-active '{UNITS}'") == "active"
    outside = sharing.lab.control("python3", "-c", GREETING.format(address, PORT))
    assert outside.stdout.strip() in ("", "0"), outside
    blob = sharing.sh(
        FIRST, "basename $(ls -S /srv/models/hub/models--lab--sharded/blobs/* | head -1)"
    )
    guess = GUESS.format(address, PORT, blob)
    sharing.lab.write(SECOND, "/tmp/guess.py", guess)
    assert sharing.sh(SECOND, "python3 /tmp/guess.py") in ("", "0")
    listening = sharing.sh(FIRST, f"ss -Hltn 'sport = :{PORT}' | awk '{{print $4}}'")
    assert listening == f"{address}:{PORT}"
    secrets = "find /var/lib/vllm-fleet/models -name '*.links.json' -perm /077"
    assert sharing.sh(FIRST, secrets) == ""


def test_a_host_that_comes_later_takes_it_from_those_that_have_it(sharing: Sharing) -> None:
    sharing.bare(THIRD)
    done = sharing.run()
    assert done.returncode == 0, done.stdout[-8000:]
    assert sharing.whole(THIRD) and not sharing.fetched()
