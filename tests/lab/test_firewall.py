"""The API port reaches only the allowed sources; other ports and ssh are as before."""

from __future__ import annotations

import pytest

from lab.state import CONTROL
from lab.testing import Lab
from tests.lab.host_half_support import NO_IMAGE, changes, state

HOSTS = 2
HOST, OTHER = "spark-01", "spark-02"
DEPLOY = "tests/lab/firewall.py"
RULES = "nft --stateless list ruleset"  # without counters: anyone may send a packet meanwhile


@pytest.fixture(scope="module", autouse=True)
def servers(lab: Lab) -> None:
    """Something answers on the API port and on another one."""
    for port in (8000, 8001):
        lab.run(HOST, f"systemd-run --unit=on-{port} python3 -m http.server {port}")
        lab.run(HOST, f"until ss -tln | grep -q :{port}; do sleep 0.1; done")


def firewall(lab: Lab, **data: str) -> str:
    done = lab.pyinfra(DEPLOY, "--limit", HOST, data={"vllm_image": NO_IMAGE, **data})
    assert done.returncode == 0, done.stdout
    return done.stdout


def reaches(lab: Lab, source: str, port: int) -> bool:
    address = lab.state.host(HOST).address if source != HOST else "127.0.0.1"
    ask = f"curl -s -o /dev/null -m 3 http://{address}:{port}/"
    done = lab.control(*ask.split()) if source == CONTROL else lab.run(source, ask, check=False)
    return done.returncode == 0


def test_only_the_allowed_reach_the_api_port(lab: Lab) -> None:
    assert reaches(lab, OTHER, 8000)
    firewall(lab, firewall="true", allowed_sources=f'["{CONTROL}/32"]')
    assert not reaches(lab, OTHER, 8000)
    assert reaches(lab, CONTROL, 8000) and reaches(lab, HOST, 8000)
    assert reaches(lab, OTHER, 8001)


def test_rules_that_would_cut_our_own_connection_are_refused(lab: Lab) -> None:
    """sshd listens on what is to be the API port; before and after, the host is the same."""
    lab.write(HOST, "/etc/ssh/sshd_config.d/also.conf", "Port 22\nPort 8002\n")
    lab.run(HOST, "systemctl restart ssh")
    before, rules = state(lab, HOST), lab.text(HOST, RULES)
    done = lab.pyinfra(
        DEPLOY, "--limit", HOST,
        data={"vllm_image": NO_IMAGE, "firewall": "true", "port": "8002",
              "allowed_sources": f'["{CONTROL}/32"]'},
    )  # fmt: skip
    assert done.returncode == 1 and "Traceback" not in done.stdout, done.stdout
    assert "firewall: found sshd on port 8002, which is the API port" in done.stdout
    assert "choose another port" in done.stdout
    assert (state(lab, HOST), lab.text(HOST, RULES)) == (before, rules)
    lab.run(HOST, "rm /etc/ssh/sshd_config.d/also.conf; systemctl restart ssh")


def test_it_is_there_after_a_flush_and_after_a_boot(lab: Lab) -> None:
    data = {"firewall": "true", "allowed_sources": f'["{CONTROL}/32"]'}
    assert changes(firewall(lab, **data)) == 0
    lab.run(HOST, "nft flush ruleset")
    assert changes(firewall(lab, **data)) == 1
    assert not reaches(lab, OTHER, 8000)
    lab.reboot(HOST)
    lab.run(HOST, "systemd-run --unit=on-8000 python3 -m http.server 8000")
    lab.run(HOST, "until ss -tln | grep -q :8000; do sleep 0.1; done")
    assert not reaches(lab, OTHER, 8000) and reaches(lab, CONTROL, 8000)
    assert changes(firewall(lab, **data)) == 0


def test_dockers_forwarding_does_not_get_around_it(lab: Lab) -> None:
    """A published port is translated before the input chain: here the API port, to port 8001."""
    lab.run(HOST, "systemctl stop on-8000; ip netns add box; ip link add in type veth peer out; "
            "ip link set out netns box; ip addr add 172.30.0.1/24 dev in; ip link set in up; "
            "ip netns exec box ip addr add 172.30.0.2/24 dev out; "
            "ip netns exec box ip link set out up; "
            "ip netns exec box ip route add default via 172.30.0.1; "
            "sysctl -q -w net.ipv4.ip_forward=1; "
            "nft 'table ip published { chain pre { type nat hook prerouting priority dstnat; "
            "tcp dport 8000 dnat to 172.30.0.2:80; }; }'; "
            "systemd-run --unit=box ip netns exec box python3 -m http.server 80")  # fmt: skip
    lab.run(HOST, "until ip netns exec box ss -tln | grep -q :80; do sleep 0.1; done")
    assert reaches(lab, CONTROL, 8000)
    assert not reaches(lab, OTHER, 8000)


def test_switched_off_it_leaves_nothing(lab: Lab) -> None:
    firewall(lab)
    assert "vllm_fleet" not in lab.text(HOST, RULES)
    assert lab.run(HOST, "ls /etc/vllm-fleet/firewall.nft", check=False).returncode != 0
    assert changes(firewall(lab)) == 0


def test_an_empty_list_is_a_mistake(lab: Lab) -> None:
    done = lab.pyinfra(DEPLOY, data={"vllm_image": NO_IMAGE, "firewall": "true"})
    assert done.returncode != 0
    assert "allowed_sources: found an empty list, allowed: at least one network" in done.stdout
