"""The firewall and a gateway: its port is closed as the API is, and it reaches the replicas."""

from __future__ import annotations

from lab.state import CONTROL
from lab.testing import Lab
from tests.lab.host_half_support import NO_IMAGE, changes

HOSTS = 2
HOST, GATEWAY = "spark-01", "spark-02"
INVENTORY = "lab/inventory_gateway.py"  # the last host is the gateway and nothing else
STEP = "tests/lab/firewall.py"


def listens(lab: Lab, host: str, port: int) -> None:
    lab.run(host, f"systemd-run --unit=on-{port} python3 -m http.server {port}")
    lab.run(host, f"until ss -tln | grep -q :{port}; do sleep 0.1; done")


def reaches(lab: Lab, source: str, host: str, port: int) -> bool:
    ask = f"curl -s -o /dev/null -m 3 http://{lab.state.host(host).address}:{port}/"
    done = lab.control(*ask.split()) if source == CONTROL else lab.run(source, ask, check=False)
    return done.returncode == 0


def test_a_gateway_reaches_its_replica_and_is_reached_by_the_allowed(lab: Lab) -> None:
    listens(lab, HOST, 8000)
    listens(lab, GATEWAY, 443)
    assert reaches(lab, HOST, GATEWAY, 443)
    allowed = f'["{CONTROL}/32"]'
    data = {"listen": "0.0.0.0", "firewall": "true", "allowed_sources": allowed}
    for _ in range(2):
        done = lab.pyinfra(STEP, data={"vllm_image": NO_IMAGE, **data}, inventory=INVENTORY)
        assert done.returncode == 0, done.stdout
    assert changes(done.stdout) == 0, done.stdout
    assert not reaches(lab, HOST, GATEWAY, 443)
    assert reaches(lab, CONTROL, GATEWAY, 443)
    assert reaches(lab, GATEWAY, HOST, 8000)
