"""What a person got wrong in an inventory or in group data is a line, before any connection."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.deploys.command_line import Port, inventory, port, run

HERE = '"ssh_port": PORT, "ssh_user": "nobody"'
FIRST = f'("spark-01", {{"ssh_hostname": "127.0.0.1", {HERE}}})'
SECOND = f'("spark-02", {{"ssh_hostname": "127.0.0.2", {HERE}}})'


def told(folder: Path, text: str, *more: str) -> list[str]:
    """The lines of a run that is refused, for an inventory of this text."""
    with port() as listener:
        return refused(listener, written(folder, listener, text), *more)


def written(folder: Path, listener: Port, text: str) -> Path:
    path = inventory(folder, listener.number)
    path.write_text(f"PORT = {listener.number}\n{text}\n")
    return path


def refused(listener: Port, file: Path, *more: str) -> list[str]:
    done = run(file, "deploy.py", "-y", *more)
    assert (done.returncode, listener.seen) == (1, []), done.stdout
    assert "Traceback" not in done.stdout and "pyinfra-debug.log" not in done.stdout, done.stdout
    return done.stdout.splitlines()


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (f"hosts = [{FIRST}, {FIRST}]", "hosts: found 'spark-01' twice, allowed: once in a group"),
        (
            f'hosts = [{FIRST}]\nmore = [("spark-01", {{"ssh_hostname": "127.0.0.9"}})]',
            "host spark-01: ssh_hostname: found '127.0.0.1' in hosts, '127.0.0.9' in more; allowed",
        ),
        (
            f'hosts = [{FIRST}, ("spark-02", {{"ssh_hostname": "127.0.0.1", {HERE}}})]',
            "host spark-02: ssh_hostname: found '127.0.0.1', port",
        ),
        (f"hosts = {FIRST}", "hosts: found a tuple, allowed: a list of hosts, each"),
        (f"hosts = ({FIRST}, {SECOND})", "hosts: found a tuple, allowed: a list of hosts, each"),
        (f'hosts = [{FIRST}]\ngateway = "spark-01"', "gateway: found 'spark-01', allowed: a list"),
        (f'hosts = [{FIRST}]\nmonitoring = ("spark-01")', "monitoring: found 'spark-01', allowed"),
        (f'hosts = [{FIRST}]\ngateway = {{"spark-01": {{}}}}', "gateway: found a dict, allowed"),
        (f'hosts = [{FIRST}]\nmore = "spark-01"', "more: found 'spark-01', allowed: a list"),
        (f'hosts = [{FIRST}]\nmore = ("spark-01", "spark-02")', "more: found a tuple, allowed"),
        (f'hosts = [{FIRST}, ["spark-04", {{}}]]', 'hosts[1]: found a list, allowed: "spark-01"'),
        ('hosts = [("spark-01", None)]', 'hosts[0]: found a tuple, allowed: "spark-01", or'),
        ('hosts = "spark-01"', "hosts: found 'spark-01', allowed: a list of hosts"),
        ("hosts = []", "found no host to work on, allowed: a list of hosts"),
        (
            f'hosts = [("spark-01", {{"ssh_hostnam": "127.0.0.1", {HERE}}})]',
            "host spark-01: ssh_hostnam: unknown key; did you mean 'ssh_hostname'?",
        ),
        (
            'hosts = [("spark-01", {"ssh_hostname": "127.0.0.1", "ssh_port": 99999})]',
            "host spark-01: ssh_port: found 99999, allowed: a whole number from 1 to 65535",
        ),
        (
            'hosts = [("spark-01", {"ssh_hostname": 7})]',
            "host spark-01: ssh_hostname: found 7, allowed: text",
        ),
        (
            'hosts = [("spark-01", {"ssh_port": [22]})]',
            "host spark-01: ssh_port: found a list, allowed: a whole number from 1 to 65535",
        ),
        (
            'hosts = [("spark-01", {"ssh_password": 1234})]',
            "host spark-01: ssh_password: found a secret, allowed: text",
        ),
        ('hosts = ["spark-01", 3]', 'hosts[1]: found 3, allowed: "spark-01", or'),
        ('hosts = [("spark-01", {3: 4})]', 'hosts[0]: found a tuple, allowed: "spark-01", or'),
        (f"hosts = [{FIRST}, {SECOND}", "cannot be read: SyntaxError: "),
        (f"hosts = [{FIRST}, hots]", "cannot be read: NameError: name 'hots' is not defined"),
    ],
)
def test_an_inventory_that_cannot_be_meant(tmp_path: Path, text: str, line: str) -> None:
    lines = told(tmp_path, text)
    assert len([one for one in lines if f"{tmp_path / 'hosts.py'}: {line}" in one]) == 1, lines


@pytest.mark.parametrize(
    "text",
    [
        f"hosts = [{FIRST}, {SECOND}]\nmore = [{SECOND}]",
        f'_all = [{FIRST}, {SECOND}]\n*hosts, _last = _all\nmore = [_last, "spark-01"]',
        f'import os\nfrom string import digits\nhosts = ([{FIRST}, {SECOND}], {{"port": 9000}})',
        f'common = {{"ssh_user": "nobody"}}\nhosts = [{FIRST}, {SECOND}]',
        f'user = "ops"\nnets = ("192.0.2.0/24",)\nsites = {{}}\nhosts = [{FIRST}, {SECOND}]',
        f'USER = "nobody"\nfor name in ("a", "b"):\n    pass\nhosts = [{FIRST}, {SECOND}]',
    ],
)
def test_an_inventory_that_can_be_meant(tmp_path: Path, text: str) -> None:
    with port() as listener:
        done = run(written(tmp_path, listener, text), "status.py")
        assert len(listener.seen) == 2, done.stdout


def test_hosts_that_do_not_go_together_name_file_and_host(tmp_path: Path) -> None:
    pair = '"replica": "pair", "tensor_parallel": 2'
    text = f'hosts = [("spark-01", {{"ssh_hostname": "127.0.0.1", {pair}}}), '
    other = f'("spark-02", {{"ssh_hostname": "127.0.0.2", {pair}, "port": 9000}})]'
    place = f"{tmp_path / 'hosts.py'}: host spark-02"
    found = f"{place}: port: found 9000, allowed: 8000, as spark-01 of the same replica has it"
    assert f"{found}; set it for both" in told(tmp_path, text + other)
    lines = told(tmp_path, f'spark = [{FIRST}]\ngateway = ["watch"]', "--data", "listen=127.0.0.1")
    assert any(line.startswith("--data: host spark-01: listen: found 127.0.0.1") for line in lines)


def test_an_inventory_that_is_not_there(tmp_path: Path) -> None:
    done = run(tmp_path / "hots.py", "deploy.py", "-y")
    assert done.returncode == 1
    assert f"{tmp_path / 'hots.py'}: no such file" in done.stdout
    done = run("inventry.py", "deploy.py", "-y")
    assert "inventry.py: no such file; did you mean 'inventory.py'?" in done.stdout


@pytest.mark.parametrize("text", ["port = = 1", "port = prot"])
def test_group_data_that_cannot_be_run(tmp_path: Path, text: str) -> None:
    with port() as listener:
        file = inventory(tmp_path, listener.number)
        place = tmp_path / "group_data" / "all.py"
        place.write_text(text)
        lines = refused(listener, file)
    assert [line for line in lines if f"{place}: cannot be read: " in line], lines


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("flet.py", "did you mean 'fleet.py'?"),
        ("fleet.yaml", "did you mean 'fleet.py'?"),
        ("all.yml", "did you mean 'all.py'?"),
    ],
)
def test_group_data_that_nothing_reads(tmp_path: Path, name: str, told: str) -> None:
    with port() as listener:
        file = inventory(tmp_path, listener.number)
        place = tmp_path / "group_data" / name
        place.write_text("port = 9000")
        lines = refused(listener, file)
    allowed = "allowed: all.py, fleet.py, hosts.py, or a name that begins with _"
    assert f"{place}: found a file that nothing reads, {allowed}; {told}" in lines


def test_group_data_that_something_reads(tmp_path: Path) -> None:
    """All hosts', a group's, that of the group named after the file, another inventory's."""
    with port() as listener:
        file = inventory(tmp_path, listener.number)
        for name in ("fleet.py", "hosts.py", "lab.py", "README.md", "_common.py"):
            (tmp_path / "group_data" / name).write_text("_PORT = 9000")
        (tmp_path / "group_data" / "__pycache__").mkdir()
        (tmp_path / "staging.py").write_text("lab = []")
        done = run(file, "status.py")
        assert len(listener.seen) == 2, done.stdout


def test_group_data_of_inventories_in_a_folder_of_their_own(tmp_path: Path) -> None:
    with port() as listener:
        file = inventory(tmp_path, listener.number)
        (tmp_path / "inventories").mkdir()
        moved = file.rename(tmp_path / "inventories" / file.name)
        (tmp_path / "inventories" / "lab.py").write_text('sparklab = ["spark-09"]')
        (tmp_path / "group_data" / "sparklab.py").write_text("port = 9000")
        done = run(moved, "status.py", "--group-data", tmp_path / "group_data")
        assert len(listener.seen) == 2, done.stdout


@pytest.mark.parametrize("word", ["port", "=3"])
def test_data_that_is_no_pair(tmp_path: Path, word: str) -> None:
    lines = told(tmp_path, f"hosts = [{FIRST}]", "--data", word)
    assert f"--> pyinfra error: --data: found '{word}', allowed: KEY=VALUE" in lines
