"""A tag to its digest: against a real registry on loopback, and one that wants a token."""

from __future__ import annotations

import hashlib
import json
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator

import pytest
import requests

from fleet import http
from fleet.problems import SettingsError
from fleet.registry import INDEXES, MANIFESTS, Registry, reference
from tests.fleet.web import Reply, site

PROGRAM = shutil.which("docker-registry")


def digest(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def encoded(value: object) -> bytes:
    return json.dumps(value).encode()


def manifest(architecture: str) -> tuple[bytes, bytes]:
    """A manifest without layers, and its config."""
    config = encoded({"os": "linux", "architecture": architecture, "rootfs": {"type": "layers"}})
    descriptor = {
        "mediaType": "application/vnd.docker.container.image.v1+json",
        "digest": digest(config),
        "size": len(config),
    }
    body = {"schemaVersion": 2, "mediaType": MANIFESTS[1], "config": descriptor, "layers": []}
    return encoded(body), config


def index(*architectures: str) -> bytes:
    entries = [
        {
            "mediaType": MANIFESTS[1],
            "digest": digest(manifest(name)[0]),
            "size": len(manifest(name)[0]),
            "platform": {"os": "linux", "architecture": name},
        }
        for name in architectures
    ]
    return encoded({"schemaVersion": 2, "mediaType": INDEXES[1], "manifests": entries})


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    if PROGRAM is None:
        pytest.skip("docker-registry is not installed")
    folder = tmp_path_factory.mktemp("registry")
    with socket.create_server(("127.0.0.1", 0)) as free:
        address = f"127.0.0.1:{free.getsockname()[1]}"
    settings = {
        "version": 0.1,
        "storage": {"filesystem": {"rootdirectory": str(folder)}},
        "http": {"addr": address},
    }
    (folder / "config.yml").write_text(json.dumps(settings))
    log = (folder / "log").open("wb")
    running = subprocess.Popen([PROGRAM, "serve", str(folder / "config.yml")], stderr=log)
    try:
        wait_for(address)
        push(address)
        yield address
    finally:
        running.terminate()
        running.wait(10)


def wait_for(address: str) -> None:
    for _ in range(100):
        try:
            requests.get(f"http://{address}/v2/", timeout=5)
            return
        except requests.ConnectionError:
            time.sleep(0.1)
    pytest.fail("docker-registry does not answer")


def push(address: str) -> None:
    """Two manifests, an index of both under :both, one alone under :arm."""
    url = f"http://{address}/v2/vllm/vllm-openai"
    for name in ("arm64", "amd64"):
        body, config = manifest(name)
        upload = requests.post(f"{url}/blobs/uploads/", timeout=10).headers["Location"]
        place = f"{upload}&digest={digest(config)}"
        assert requests.put(place, data=config, timeout=10).status_code == 201
        put(f"{url}/manifests/{name}", body, MANIFESTS[1])
    put(f"{url}/manifests/both", index("arm64", "amd64"), INDEXES[1])


def put(url: str, body: bytes, kind: str) -> None:
    done = requests.put(url, data=body, headers={"Content-Type": kind}, timeout=10)
    assert done.status_code == 201, done.text


def test_a_tag_of_several_platforms_is_locked_by_its_index(registry: str) -> None:
    wanted = reference(f"{registry}/vllm/vllm-openai:both")
    expected = f"{registry}/vllm/vllm-openai@{digest(index('arm64', 'amd64'))}"
    assert Registry().resolve(wanted) == expected
    assert Registry().resolve(wanted, "linux/amd64") == expected


def test_a_tag_of_one_platform_is_locked_by_its_manifest(registry: str) -> None:
    wanted = reference(f"{registry}/vllm/vllm-openai:arm64")
    assert Registry().resolve(wanted).endswith(f"@{digest(manifest('arm64')[0])}")


def test_an_image_for_other_machines_is_refused(registry: str) -> None:
    wanted = reference(f"{registry}/vllm/vllm-openai:amd64")
    with pytest.raises(SettingsError, match="has 'linux/amd64', allowed: with linux/arm64"):
        Registry().resolve(wanted)


def test_a_missing_tag_is_refused(registry: str) -> None:
    with pytest.raises(SettingsError, match="has no tag 'nope', or does not exist"):
        Registry().resolve(reference(f"{registry}/vllm/vllm-openai:nope"))


def test_a_registry_that_wants_a_token_gets_the_one_it_hands_out() -> None:
    with site() as web:
        host = web.address.removeprefix("http://")
        challenge = f'Bearer realm="{web.address}/token",service="s",scope="repository:a/b:pull"'
        body = index("arm64")
        refused = Reply(401, headers={"WWW-Authenticate": challenge})
        web.replies["/v2/a/b/manifests/t"] = [refused, Reply(body=body)]
        query = "/token?service=s&scope=repository%3Aa%2Fb%3Apull"
        web.replies[query] = Reply(body=encoded({"token": "anonymous"}))
        found = Registry(client()).resolve(reference(f"{host}/a/b:t"))
    assert found == f"{host}/a/b@{digest(body)}"
    assert web.asked[-1][1]["Authorization"] == "Bearer anonymous"
    assert "Authorization" not in web.asked[0][1]


@pytest.mark.parametrize(
    ("reply", "said"),
    [
        (Reply(401), "needs a login"),
        (Reply(401, headers={"WWW-Authenticate": 'Basic realm="x"'}), "needs a login"),
        (Reply(401, headers={"WWW-Authenticate": 'Bearer realm="http://evil/"'}), "https"),
        (Reply(403), "is not open to anonymous pulls"),
        (Reply(body=b"{"), "not usable JSON"),
        (Reply(body=b"[]"), "allowed: a JSON object"),
        (Reply(body=encoded({"config": {"digest": "../../x"}})), "allowed: a digest"),
        (Reply(body=b"{}", headers={"Docker-Content-Digest": "sha256:0"}), "the registry says"),
    ],
)
def test_what_is_no_image_is_refused_in_one_line(reply: Reply, said: str) -> None:
    with site() as web:
        web.replies["/v2/a/b/manifests/t"] = reply
        with pytest.raises(SettingsError, match=said) as error:
            Registry(client()).resolve(reference(f"{web.address.removeprefix('http://')}/a/b:t"))
    assert "\n" not in str(error.value)


def client() -> http.Client:
    return http.Client(sleep=lambda seconds: None)


@pytest.mark.parametrize(
    ("text", "host", "repository", "tag"),
    [
        ("vllm/vllm-openai:v0.33.0", "registry-1.docker.io", "vllm/vllm-openai", "v0.33.0"),
        ("docker.io/vllm/vllm-openai:latest", "registry-1.docker.io", "vllm/vllm-openai", "latest"),
        ("debian:13", "registry-1.docker.io", "library/debian", "13"),
        ("nvcr.io/nvidia/vllm:26.04-py3", "nvcr.io", "nvidia/vllm", "26.04-py3"),
        ("registry.lab:5000/vllm-cpu:1", "registry.lab:5000", "vllm-cpu", "1"),
        ("localhost:5000/a:1", "localhost:5000", "a", "1"),
    ],
)
def test_names_are_read_as_docker_does(text: str, host: str, repository: str, tag: str) -> None:
    found = reference(text)
    assert (found.host, found.repository, found.tag) == (host, repository, tag)


@pytest.mark.parametrize(
    "text", ["", "vllm", "a@sha256:0:1", "UP/x:1", "a/../b:1", "a:b:c", "x/y:" + "t" * 200, "a b:1"]
)
def test_what_is_no_name_is_refused(text: str) -> None:
    with pytest.raises(SettingsError, match="allowed: NAME:TAG"):
        reference(text)
