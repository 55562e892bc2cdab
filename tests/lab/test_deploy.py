"""The main job on real hosts: from bare to a proven answer, again without a change, and killed."""

from __future__ import annotations

import json
import re
import time
from pathlib import Path

import pytest

from lab.testing import Lab

HOSTS = 2
STANDIN = "vllm-standin"
# What a deploy could leave on a host, as one sum. Logs, caches and run-time files aside.
TREE = (
    "find /etc /usr /opt /srv /var/lib /root /boot -xdev "
    r"\( -path /var/lib/systemd -o -path /var/lib/private -o -path /etc/mtab \) -prune -o "
    "-type f -printf '%p %m %s %T@\\n' -o -type l -printf '%p %l\\n' | sort | sha256sum"
)
LISTENS = "until ss -tln | grep -q :22; do sleep 0.1; done"
SESSIONS = (
    "journalctl -q -t sshd-session -o cat --since=@{since} "
    "| grep -c 'Starting session: command' || true"
)


def standin(lab: Lab) -> dict[str, str]:
    return {"vllm_image": lab.state.images[STANDIN]}


def evidence(output: str) -> dict[str, object]:
    found: dict[str, object] = json.loads(
        Path(re.findall(r"evidence: (\S+\.json)", output)[-1]).read_text()
    )
    return found


def grand_total(output: str) -> tuple[int, int, int]:
    """Operations, changed, unchanged of pyinfra's own table."""
    line = re.findall(r"Grand total +(\d+) +(\S+) +(\S+) +(\S+)", output)[-1]
    numbers = [0 if word == "-" else int(word) for word in line]
    return numbers[0], numbers[1], numbers[3]


@pytest.fixture(scope="module")
def deployed(lab: Lab) -> Lab:
    """Two hosts that serve the stand-in."""
    done = lab.pyinfra("deploy.py", data=standin(lab))
    assert done.returncode == 0, done.stdout[-6000:]
    return lab


def test_a_dry_run_on_bare_hosts_changes_nothing_and_tells_what_it_would_do(bare_lab: Lab) -> None:
    before = {host: bare_lab.text(host, TREE) for host in bare_lab.names}
    done = bare_lab.pyinfra("deploy.py", "--dry", data=standin(bare_lab))
    assert done.returncode == 0, done.stdout[-4000:]
    for step in ("Driver", "Docker", "Container toolkit", "Image", "Model", "Serve"):
        assert re.search(rf"^ *{step} \| ", done.stdout, re.MULTILINE), f"{step} is not in the plan"
    assert {host: bare_lab.text(host, TREE) for host in bare_lab.names} == before


def test_bare_hosts_end_proved(deployed: Lab) -> None:
    for host in deployed.names:
        assert deployed.text(host, "systemctl is-active vllm") == "active"
        answer = deployed.text(
            host,
            "curl -sf -H 'Content-Type: application/json' http://127.0.0.1:8000/v1/completions "
            '-d \'{"model": "lab/tiny", "prompt": "hello", "max_tokens": 4}\'',
        )
        assert json.loads(answer)["usage"]["completion_tokens"] == 4


def test_the_second_run_changes_nothing_in_three_remote_commands(deployed: Lab) -> None:
    since = {}
    for host in deployed.names:  # sshd names every command it runs only when told to
        deployed.write(host, "/etc/ssh/sshd_config.d/verbose.conf", "LogLevel VERBOSE\n")
        since[host] = deployed.text(host, f"systemctl reload ssh; sleep 1; {LISTENS}; date +%s")
    time.sleep(2)
    done = deployed.pyinfra("deploy.py", data=standin(deployed))
    assert done.returncode == 0, done.stdout[-4000:]
    assert grand_total(done.stdout)[1] == 0, done.stdout[-4000:]
    for host in deployed.names:
        seen = int(deployed.text(host, SESSIONS.format(since=int(since[host]) + 1)))
        seen -= 1  # this count itself
        print(f"{host}: {seen} remote commands")
        assert 0 < seen <= 3


def test_evidence_says_what_was_proved(deployed: Lab) -> None:
    done = deployed.pyinfra("verify.py", data=standin(deployed))
    found = evidence(done.stdout)
    assert found["exit_code"] == 0
    hosts = found["hosts"]
    assert isinstance(hosts, list) and [h["host"] for h in hosts] == deployed.names
    assert all(h["proved"] and h["completion"] and h["tokens_per_s"] > 0 for h in hosts)


def test_a_stopped_server_is_started_again(deployed: Lab) -> None:
    deployed.run("spark-01", "systemctl stop vllm")
    assert deployed.pyinfra("verify.py", data=standin(deployed)).returncode != 0
    assert deployed.pyinfra("deploy.py", data=standin(deployed)).returncode == 0


def test_a_damaged_file_is_repaired_without_a_restart(deployed: Lab) -> None:
    container = deployed.text("spark-01", "docker inspect -f '{{.Id}}' vllm")
    deployed.run("spark-01", "echo '# edited' >> /usr/local/lib/vllm-fleet/watchdog.py")
    done = deployed.pyinfra("deploy.py", data=standin(deployed))
    assert done.returncode == 0 and grand_total(done.stdout)[1] == 1
    assert deployed.text("spark-01", "docker inspect -f '{{.Id}}' vllm") == container
    assert "# edited" not in deployed.text(
        "spark-01", "tail -1 /usr/local/lib/vllm-fleet/watchdog.py"
    )


def test_limit_reaches_one_host_only(deployed: Lab) -> None:
    done = deployed.pyinfra("verify.py", "--limit", "spark-02", data=standin(deployed))
    hosts = evidence(done.stdout)["hosts"]
    assert isinstance(hosts, list) and [h["host"] for h in hosts] == ["spark-02"]


STEPS = ["Base", "Driver", "Docker", "Container toolkit", "Cache", "Image", "Model", "Serve"]


@pytest.mark.slow
def test_a_run_killed_in_any_step_is_healed_by_the_next(bare_lab: Lab) -> None:
    """One bare start; each run is killed a moment after its next step began."""
    for step in STEPS:
        process = bare_lab.start_pyinfra("deploy.py", data=standin(bare_lab))
        assert process.stdout is not None
        for line in process.stdout:
            if re.search(rf"Starting operation.*{step} \| ", line):
                break
        time.sleep(0.7)
        process.kill()
        process.wait()
    done = bare_lab.pyinfra("deploy.py", data=standin(bare_lab))
    assert done.returncode == 0, done.stdout[-6000:]
    again = bare_lab.pyinfra("deploy.py", data=standin(bare_lab))
    assert again.returncode == 0 and grand_total(again.stdout)[1] == 0, again.stdout[-4000:]
