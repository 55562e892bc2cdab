"""What is ours goes; what is not ours stays; the second time there is nothing to do."""

from __future__ import annotations

import pytest

from lab.testing import Lab
from tests.lab import operated
from tests.lab.serving_host import A, B, ServingHost

HOSTS = 1
# All that may be ours, as a person would look for it.
OURS = (
    (
        "find / -xdev ( -path /proc -o -path /sys -o -path /var/log/journal ) -prune -o "
        "-iname '*vllm*' -print | sort"
    )
    .replace("( ", r"\( ")
    .replace(" )", r" \)")
)
FOREIGN = {
    "/etc/apt/sources.list.d/theirs.sources": "# not ours\n",
    "/etc/sysctl.d/90-theirs.conf": "# theirs\n",
    "/srv/models/hub/models--their--model/refs/main": "theirs\n",
    "/etc/systemd/system/ssh.service.d/theirs.conf": "[Service]\n",
}
CONFIGURATION = {
    "/etc/needrestart/conf.d/50-vllm-fleet.conf": "# Written by spark-vllm-fleet\n",
    "/etc/sysctl.d/90-vllm-fleet.conf": "# Written by spark-vllm-fleet\n",
    "/etc/apt/sources.list.d/vllm-fleet-docker.sources": "# Written by spark-vllm-fleet\n",
    "/etc/systemd/system/ssh.service.d/50-vllm-fleet.conf": "# Written by spark-vllm-fleet\n",
    "/etc/systemd/system/user.slice.d/50-vllm-fleet.conf": "# Written by spark-vllm-fleet\n",
}


@pytest.fixture(scope="module")
def host(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> ServingHost:
    return operated.prepared(lab, tmp_path_factory.mktemp("host"))[lab.names[0]]


@pytest.fixture
def full(host: ServingHost) -> ServingHost:
    """It serves, and has all that a deploy leaves, beside things of others."""
    host.install()
    operated.serve({host.name: host}, A, B)
    for path, text in {**FOREIGN, **CONFIGURATION}.items():
        host.lab.write(host.name, path, text)
    host.run("docker rm -f theirs; docker create --name theirs lab/standin:test", check=False)
    host.run("mkdir -p /var/lib/vllm-fleet/models /srv/models/hub/models--lab--tiny/blobs")
    host.run("echo '{}' > /var/lib/vllm-fleet/models/models--lab--tiny.json")
    host.run("apt-mark hold bash tini; echo tini > /var/lib/vllm-fleet/held")
    return host


def test_dry_tells_and_touches_nothing(lab: Lab, full: ServingHost) -> None:
    before = full.text(OURS)
    done = operated.ran(lab, "remove.py", "--dry", code=0)
    for told in ("unit vllm.service", f"container vllm ({B})", "/etc/vllm-fleet", "hold of tini"):
        assert f"remove {told}" in done.stdout
    assert full.text(OURS) == before
    assert full.serves() == "lab/b"


def test_ours_goes_theirs_stays_and_again_nothing(lab: Lab, full: ServingHost) -> None:
    done = operated.ran(lab, "remove.py", code=0)
    assert operated.results(done)[full.name]["outcome"] == "removed"
    assert full.text(OURS) == "/etc/systemd/system/vllm.service.d", "a drop-in of the host's own"
    assert full.text("ls -d /run/*vllm* /run/lock/*vllm* 2> /dev/null || true") == ""
    assert full.text("docker ps -a --format '{{.Names}}'") == "theirs"
    assert full.text("apt-mark showhold") == "bash"
    assert full.run("systemctl cat vllm", check=False).returncode != 0
    for path in FOREIGN:
        assert full.run(f"test -f {path}", check=False).returncode == 0, path
    assert full.run("test -d /etc/systemd/system/user.slice.d", check=False).returncode == 1
    assert full.run("test -d /etc/needrestart", check=False).returncode == 1, "made for our file"
    assert full.text("ls /srv/models/hub") == "models--lab--tiny\nmodels--their--model"

    again = operated.ran(lab, "remove.py", code=0)
    assert operated.results(again)[full.name]["outcome"] == "nothing of ours"


def test_weights_and_images_go_only_when_told(lab: Lab, full: ServingHost) -> None:
    full.run("docker rm -f theirs")
    operated.ran(lab, "remove.py", code=0, remove_weights="true", remove_images="true")
    assert full.text("ls /srv/models/hub") == "models--their--model"
    assert full.text("docker images -q") == ""


def test_a_host_that_is_being_changed_is_left_alone(lab: Lab, host: ServingHost) -> None:
    host.install()
    host.run("mkdir -p /etc/vllm-fleet /run/vllm-fleet.lock")
    host.run(
        "systemd-run -q --unit=other sleep 300; pid=$(systemctl show -P MainPID other); "
        "python3 -c \"import sys; sys.path.insert(0, '/usr/local/lib/vllm-fleet'); "
        "import hostlock, durable; from dataclasses import asdict, replace; "
        "o = hostlock.owner('ann', 'desk', 'activate x'); p = int(sys.argv[1]); "
        "durable.write_json(hostlock.OWNER, asdict(replace(o, pid=p, "
        'pid_started=hostlock.pid_started(p))))" $pid'
    )
    done = operated.ran(lab, "remove.py", code=1)
    assert "is held by ann from desk" in done.stdout
    assert host.run("test -d /etc/vllm-fleet", check=False).returncode == 0
    host.run("systemctl stop other")
    operated.ran(lab, "remove.py", code=0)
