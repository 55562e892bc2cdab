"""What the tests of the host half share: running it, and telling whether a host changed."""

from __future__ import annotations

import re

from lab.testing import Done, Lab

DEPLOY = "tests/lab/host_half.py"
NO_IMAGE = "registry.lab:5000/none@sha256:" + "0" * 64  # the host half needs none
# Packages, files and links a deploy could touch, as one sum. Logs and run-time state aside.
STATE = (
    "(dpkg-query -W -f '${Package} ${Version} ${db:Status-Abbrev}\\n'; "
    "find /etc /usr /opt /srv /boot /root -xdev -path /etc/mtab -prune -o "
    "-type f -printf '%p %m %s %T@\\n' -o -type l -printf '%p %l\\n' | sort) | sha256sum"
)


def converge(lab: Lab, *words: str, **data: str) -> Done:
    """The host half against all hosts, or those of ``--limit``; its output in ``stdout``."""
    return lab.pyinfra(DEPLOY, *words, data={"vllm_image": NO_IMAGE, **data})


def state(lab: Lab, host: str = "spark-01") -> str:
    return lab.text(host, STATE)


def changes(output: str) -> int:
    """Operations that changed something, by pyinfra's own table."""
    line = re.findall(r"Grand total +\d+ +(\S+)", output)[-1]
    return 0 if line == "-" else int(line)


def refused(lab: Lab, *told: str, host: str = "spark-01", **data: str) -> str:
    """The run is refused for ``host``, says ``told`` in one line, and leaves the host as it was."""
    before = state(lab, host)
    done = converge(lab, "--limit", host, **data)
    assert done.returncode != 0, done.stdout
    assert "Traceback" not in done.stdout, done.stdout
    lines = [line for line in done.stdout.splitlines() if f"[{host}]" in line]
    assert any(all(word in line for word in told) for line in lines), done.stdout
    assert state(lab, host) == before
    return done.stdout
