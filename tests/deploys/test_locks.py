"""A model without a lock is locked for the run, by a real Hub over TLS, before any connection."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.content import ACCESS, TOKENS, hub
from lab.content.models import MODELS
from tests.deploys.command_line import GOOD, inventory, port, run

TINY = MODELS["lab/tiny"]()
NEW, GATED = "lab/new", "lab/gated"
READER = next(token for token, readable in TOKENS.items() if readable)
SELF_SIGNED = ["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=hub"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """cert.pem, key.pem, and two models that models/ has no lock of."""
    made: Path = tmp_path_factory.mktemp("hub")
    files = ["-keyout", str(made / "key.pem"), "-out", str(made / "cert.pem")]
    alternative = ["-addext", "subjectAltName=IP:127.0.0.1"]
    subprocess.run(["openssl", *SELF_SIGNED, *files, *alternative], check=True, capture_output=True)
    for name in (NEW, GATED):
        for path, content in TINY.files.items():
            place = made / "repos" / name.replace("/", "--") / path
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(content)
    return made


@pytest.fixture(scope="module")
def address(folder: Path) -> Iterator[str]:
    config = {
        "listen": ["127.0.0.1", 0], "directories": [str(folder / "repos")], "access": ACCESS,
        "tokens": TOKENS, "log": str(folder / "log"),
        "certificate": str(folder / "cert.pem"), "key": str(folder / "key.pem"),
    }  # fmt: skip
    server = hub.serve(config)
    yield f"https://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.fixture
def data(folder: Path, address: str) -> dict[str, object]:
    (folder / "log").write_text("")
    return {
        **GOOD, "vllm_model": NEW, "hf_endpoint": address, "extra_ca": str(folder / "cert.pem")
    }  # fmt: skip


def outcome(folder: Path, data: dict[str, object], *words: str) -> tuple[str, int]:
    """What a run of two hosts says, and how many connections it made."""
    with port() as listener:
        hosts = inventory(folder, listener.number, data=data)
        done = run(hosts, "switch.py", "-y", *words)
        assert done.returncode == 1, done.stdout  # nobody answers on that port
        if not listener.seen:  # else paramiko tells of the strange server that it met
            assert "Traceback" not in done.stdout
        return done.stdout, len(listener.seen)


def asked(folder: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in (folder / "log").read_text().splitlines()]


def test_the_hub_is_asked_once_for_the_whole_run(
    tmp_path: Path, folder: Path, data: dict[str, object]
) -> None:
    said, connections = outcome(tmp_path, data)
    lines = [line for line in said.splitlines() if "has no lock" in line]
    assert len(lines) == 1, said
    assert f"{NEW} has no lock: locked for this run at " in lines[0]
    assert f"make it permanent: fleet lock {NEW} --revision " in lines[0]
    assert connections >= 2
    assert sum("/revision/" in str(entry["path"]) for entry in asked(folder)) == 1


def test_a_locked_model_asks_nobody(tmp_path: Path, folder: Path, data: dict[str, object]) -> None:
    said, connections = outcome(tmp_path, {**data, "vllm_model": "lab/tiny"})
    assert "has no lock" not in said and connections >= 2
    assert asked(folder) == []


def test_require_locks_refuses_without_asking(
    tmp_path: Path, folder: Path, data: dict[str, object]
) -> None:
    said, connections = outcome(tmp_path, {**data, "require_locks": True})
    assert f"vllm_model: found '{NEW}', allowed: a model with a lock in models/" in said
    assert f"make one with: fleet lock {NEW}" in said
    assert (connections, asked(folder)) == (0, [])


def test_a_refusal_of_the_hub_is_one_line_among_the_other_mistakes(
    tmp_path: Path, data: dict[str, object]
) -> None:
    said, connections = outcome(tmp_path, {**data, "vllm_model": GATED, "port": "8000"})
    place = tmp_path / "group_data" / "all.py"
    assert connections == 0
    assert f"{place}: vllm_model: {GATED}: is gated and no token was given" in said
    assert f"so the Hub was asked; make a lock with: fleet lock {GATED}\n" in said
    assert f"{place}: port: found '8000'" in said
    assert "2 mistakes in the settings; no host was contacted" in said


def test_a_token_file_opens_a_gated_model_and_is_told_to_nobody(
    tmp_path: Path, data: dict[str, object]
) -> None:
    (tmp_path / "token").write_text(f"{READER}\n")
    file = str(tmp_path / "token")
    said, connections = outcome(tmp_path, {**data, "vllm_model": GATED, "hf_token_file": file})
    assert f"{file}: others may read it; allowed: mode 0600" in said and connections == 0
    assert READER not in said
    (tmp_path / "token").chmod(0o600)
    said, connections = outcome(tmp_path, {**data, "vllm_model": GATED, "hf_token_file": file})
    assert f"{GATED} has no lock: locked for this run" in said and connections >= 2
    assert READER not in said


def test_a_token_file_that_is_not_there_is_told(tmp_path: Path, data: dict[str, object]) -> None:
    said, connections = outcome(tmp_path, {**data, "hf_token_file": str(tmp_path / "none")})
    assert "the Hub token cannot be read: No such file" in said
    assert connections == 0


@pytest.mark.slow
def test_an_untrusted_certificate_is_told(tmp_path: Path, data: dict[str, object]) -> None:
    said, connections = outcome(tmp_path, {k: v for k, v in data.items() if k != "extra_ca"})
    assert "its TLS certificate is not trusted here" in said
    assert connections == 0


def test_a_certificate_that_is_none_is_told(tmp_path: Path, data: dict[str, object]) -> None:
    (tmp_path / "ca.pem").write_text("none\n")
    said, connections = outcome(tmp_path, {**data, "extra_ca": str(tmp_path / "ca.pem")})
    assert "ca.pem: no certificate to trust" in said
    assert connections == 0


def test_a_draft_model_is_locked_as_well(tmp_path: Path, data: dict[str, object]) -> None:
    wish = {**data, "vllm_mode": "speculative", "vllm_model": "lab/tiny", "vllm_speculator": NEW}
    said, _ = outcome(tmp_path, wish)
    assert f"{NEW} has no lock: locked for this run" in said
