"""The API beyond loopback: a made key, a certificate of our own, the listed paths, nothing else."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from fleet import vault
from fleet.access import AccessSettings
from lab.testing import REPO, Lab
from tests.lab.test_deploy import grand_total, standin

HOST = "spark-01"
OWNER = "2000:2000"
OPEN = ("/health",)
CLOSED = (
    *("/metrics", "/invocations", "/docs", "/openapi.json", "/version", "/load", "/ping"),
    *("/tokenize", "/sleep", "/pause", "/v1/load_lora_adapter", "/v1/models/../../metrics"),
)


@pytest.fixture(scope="module")
def access(tmp_path_factory: pytest.TempPathFactory) -> AccessSettings:
    return AccessSettings(secrets_dir=str(tmp_path_factory.mktemp("control") / "secrets"))


@pytest.fixture(scope="module")
def exposed(deployed: Lab, access: AccessSettings) -> Iterator[Lab]:
    """The API listens beyond loopback; nothing else was asked for."""
    done = deployed.pyinfra("deploy.py", data=data(deployed, access))
    assert done.returncode == 0, done.stdout[-6000:]
    for line in ("its key lies in", "clients trust"):
        assert f"{line} {access.secrets_dir}" in done.stdout
    assert vault.keys(access)[0] not in done.stdout
    yield deployed


def data(lab: Lab, access: AccessSettings, **more: str) -> dict[str, str]:
    return {**standin(lab), "listen": "0.0.0.0", "secrets_dir": access.secrets_dir, **more}


def ask(
    lab: Lab, access: AccessSettings, path: str, *words: str, host: str = HOST
) -> tuple[int, str]:
    """Status and body of one request from the control side, certificate checked."""
    address = lab.state.host(host).address
    done = lab.control(
        *("curl", "-sS", "--path-as-is", "--cacert", str(vault.certificates(access))),
        *("-w", "\n%{http_code}", "-m", "20", *words, f"https://{address}:8443{path}"),
    )
    body, _, status = done.stdout.rpartition("\n")
    return int(status or 0), body or done.stderr


def status_of(lab: Lab, access: AccessSettings, host: str, *words: str) -> int:
    """What ``host`` answers to a question for its models."""
    return ask(lab, access, "/v1/models", *words, host=host)[0]


def bearer(key: str) -> tuple[str, str]:
    return "-H", f"Authorization: Bearer {key}"


def test_who_has_the_key_is_answered_and_nobody_else(exposed: Lab, access: AccessSettings) -> None:
    key = bearer(vault.keys(access)[0])
    assert ask(exposed, access, "/v1/models")[0] == 401
    assert ask(exposed, access, "/v1/models", *bearer("x" * 43))[0] == 401
    status, body = ask(exposed, access, "/v1/models", *key)
    assert status == 200 and json.loads(body)["data"][0]["id"] == "lab/tiny"
    for path in OPEN:
        assert ask(exposed, access, path)[0] == 200
    for path in CLOSED:
        assert ask(exposed, access, path)[0] == 404
        assert ask(exposed, access, path, *key)[0] == 404


def test_an_answer_is_streamed(exposed: Lab, access: AccessSettings) -> None:
    body = {"model": "lab/tiny", "prompt": "hello", "max_tokens": 8, "stream": True}
    words = ("-H", "Content-Type: application/json", "-d", json.dumps(body))
    status, said = ask(exposed, access, "/v1/completions", *bearer(vault.keys(access)[0]), *words)
    assert status == 200 and said.rstrip().endswith("data: [DONE]"), said


def test_vllm_itself_is_not_reached_from_outside(exposed: Lab) -> None:
    address = exposed.state.host(HOST).address
    done = exposed.control("curl", "-s", "-m", "3", f"http://{address}:8000/v1/models")
    assert done.returncode == 7
    found = exposed.text(HOST, "ss -Hltn | awk '{print $4}'").split()
    assert "127.0.0.1:8000" in found and "0.0.0.0:8443" in found


def access_proof(lab: Lab, access: AccessSettings, **more: str) -> dict[str, str]:
    """What verify.py says of the door."""
    done = lab.pyinfra("verify.py", data=data(lab, access, **more))
    assert done.returncode == 0, done.stdout[-4000:]
    path = REPO / re.findall(r"^evidence: (\S+)$", done.stdout, re.MULTILINE)[-1]
    proofs = json.loads(path.read_text())["hosts"][0]["proofs"]
    [found] = [proof for proof in proofs if proof["name"] == "access"]
    return dict(found)


def test_every_route_is_shown_to_ask_for_the_key(
    exposed: Lab, access: AccessSettings, capsys: pytest.CaptureFixture[str]
) -> None:
    found = access_proof(exposed, access)
    with capsys.disabled():
        print(f"\n{found['verdict']}: {found['found']}; {found['line']}")
    assert found["verdict"] == "shown" and found["found"].endswith(" routes asked, 0 open")


def test_a_server_that_does_not_tell_its_routes_is_not_shown_to_be_closed(
    exposed: Lab, access: AccessSettings
) -> None:
    more = {"vllm_args": '{"disable-fastapi-docs": true}'}
    done = exposed.pyinfra("switch.py", data=data(exposed, access, **more))
    assert done.returncode == 0, done.stdout[-4000:]
    found = access_proof(exposed, access, **more)
    assert found["verdict"] == "unknown" and "openapi.json: HTTP 404; only " in found["line"]
    assert exposed.pyinfra("switch.py", data=data(exposed, access)).returncode == 0


MOST_EXPOSED = {"vllm.service": 3.5, "vllm-fleet-haproxy@api.service": 3.0}  # of 10


def test_units_and_container_have_no_more_rights_than_they_need(exposed: Lab) -> None:
    for unit, most in MOST_EXPOSED.items():
        said = exposed.text(HOST, f"systemd-analyze security --no-pager {unit} | tail -n 1")
        found = re.search(r"exposure level for \S+ (\d+\.\d)", said)
        assert found and float(found[1]) <= most, said
    inspected = json.loads(exposed.text(HOST, "docker inspect vllm"))[0]
    limits, own = inspected["HostConfig"], inspected["Config"]
    assert (own["User"], limits["ReadonlyRootfs"], limits["Privileged"]) == (OWNER, True, False)
    assert (limits["CapDrop"], limits["CapAdd"]) == (["ALL"], None)
    assert limits["SecurityOpt"] == ["no-new-privileges:true"]  # and no other seccomp profile
    # Docker drops a bound that the kernel cannot hold: a lab host has no such controller.
    bounds = exposed.text(HOST, "docker info -f '{{.PidsLimit}}'") == "true"
    assert limits["PidsLimit"] == (32768 if bounds else None)
    assert (limits["PidMode"], limits["IpcMode"]) == ("", "private")
    writable = {m["Destination"] for m in inspected["Mounts"] if m["RW"]}
    assert writable == {"/cache"}
    pid = inspected["State"]["Pid"]
    status = exposed.text(
        HOST, f"grep -E '^(CapEff|CapBnd|NoNewPrivs|Seccomp):' /proc/{pid}/status"
    )
    found = dict(line.split(":\t") for line in status.splitlines())
    assert (int(found["CapEff"], 16), int(found["CapBnd"], 16)) == (0, 0)
    assert (found["NoNewPrivs"], found["Seccomp"]) == ("1", "2")


def test_the_second_run_changes_nothing(exposed: Lab, access: AccessSettings) -> None:
    done = exposed.pyinfra("deploy.py", data=data(exposed, access))
    assert done.returncode == 0 and grand_total(done.stdout)[1] == 0, done.stdout[-4000:]


def test_status_tells_when_the_proxy_is_not_as_declared(
    exposed: Lab, access: AccessSettings
) -> None:
    good = exposed.pyinfra("status.py", data=data(exposed, access))
    assert good.returncode == 0, good.stdout[-3000:]
    other = exposed.pyinfra("status.py", data=data(exposed, access, max_body_mib="8"))
    assert other.returncode == 1 and "rules are not as declared" in other.stdout
    exposed.run(HOST, "systemctl stop vllm-fleet-haproxy@api")
    down = exposed.pyinfra("status.py", data=data(exposed, access))
    assert down.returncode == 1 and "vllm-fleet-haproxy@api.service does not run" in down.stdout
    assert exposed.pyinfra("deploy.py", data=data(exposed, access)).returncode == 0
    assert ask(exposed, access, "/health")[0] == 200


def test_a_configuration_that_haproxy_refuses_changes_nothing(
    exposed: Lab, access: AccessSettings, tmp_path: Path
) -> None:
    (tmp_path / "cert.pem").write_text("no certificate\n")
    (tmp_path / "key.pem").write_text("no key\n")
    (tmp_path / "key.pem").chmod(0o600)
    given = {"tls_certificate_file": str(tmp_path / "cert.pem"), "tls": "files",
             "tls_key_file": str(tmp_path / "key.pem")}  # fmt: skip
    done = exposed.pyinfra("deploy.py", data=data(exposed, access, **given))
    assert done.returncode == 1
    assert re.search(r"haproxy: refuses its configuration, nothing was changed", done.stdout)
    assert ask(exposed, access, "/health")[0] == 200


def test_back_on_loopback_no_proxy_is_left(exposed: Lab, access: AccessSettings) -> None:
    done = exposed.pyinfra("deploy.py", data=standin(exposed))
    assert done.returncode == 0, done.stdout[-4000:]
    assert ":8443" not in exposed.text(HOST, "ss -Hltn")
    assert exposed.run(HOST, "ls /etc/vllm-fleet/haproxy/api", check=False).returncode != 0
    again = exposed.pyinfra("deploy.py", data=standin(exposed))
    assert grand_total(again.stdout)[1] == 0
