"""A frozen host's connection is given up; one that is only busy is kept."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from tests.deploys.command_line import REPO

CLIENT = """
import gevent.monkey
gevent.monkey.patch_all()
import sys, time
import paramiko
from deploys import heartbeat
heartbeat.EVERY_S, heartbeat.ANSWER_S = 1, 3
client = paramiko.SSHClient()
client.set_missing_host_key_policy(paramiko.AutoAddPolicy())
client.connect("127.0.0.1", int(sys.argv[1]), "ann", "x", look_for_keys=False, allow_agent=False)
heartbeat.watch(client.get_transport())
_, out, _ = client.exec_command("sleep infinity")
print("runs", flush=True)
print(out.channel.recv_exit_status(), client.get_transport().is_active(), flush=True)
"""


@pytest.fixture
def server() -> Iterator[subprocess.Popen[str]]:
    words = (sys.executable, "-m", "tests.deploys.ssh_server")
    process = subprocess.Popen(words, cwd=REPO, stdout=subprocess.PIPE, text=True)
    yield process
    process.kill()
    process.communicate()


@pytest.mark.slow
def test_a_command_on_a_host_that_freezes_comes_to_an_end(server: subprocess.Popen[str]) -> None:
    assert server.stdout is not None
    words = (sys.executable, "-c", CLIENT, server.stdout.readline().strip())
    client = subprocess.Popen(words, cwd=REPO, stdout=subprocess.PIPE, text=True)
    assert client.stdout is not None and client.stdout.readline() == "runs\n"
    time.sleep(6)
    assert client.poll() is None  # it says nothing for long, but its server answers
    server.send_signal(signal.SIGSTOP)
    began = time.monotonic()
    said, _ = client.communicate(timeout=30)
    assert said.split() == ["-1", "False"]
    assert 2 < time.monotonic() - began < 15
