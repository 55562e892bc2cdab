"""What an image is built from: pinned, complete, and named by its inputs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from fleet import dockerfile, images
from fleet.images import ImageSettings
from fleet.problems import SettingsError

OURS = (Path(__file__).parents[2] / "files/image/Dockerfile").read_text()
PINNED = "nvidia/cuda:13.0.3-devel-ubuntu24.04@sha256:" + "a" * 64
GIVEN = {"CUDA_DEVEL": PINNED, "CUDA_RUNTIME": PINNED, "VLLM_COMMIT": "b" * 40}


def settings(folder: Path, **values: Any) -> ImageSettings:
    return ImageSettings(
        image_builder="spark-01",
        image_registry="192.0.2.1:5000",
        image_folder=str(folder),
        **values,
    )


def test_ours_builds_once_it_is_told_what_it_stands_on() -> None:
    assert dockerfile.problems(OURS, GIVEN) == []


@pytest.mark.parametrize("name", GIVEN)
def test_ours_invents_nothing(name: str) -> None:
    without = {key: value for key, value in GIVEN.items() if key != name}
    wanted = f"image_build_args.{name}: missing, the Dockerfile has no default for it"
    assert dockerfile.problems(OURS, without) == [wanted]


def test_ours_is_what_the_issue_asks_for() -> None:
    for line in ("TORCH_CUDA_ARCH_LIST=12.1a", "whl/cu130", "TRITON_PTXAS_PATH=", "USER 2000:0",
                 'ENTRYPOINT ["vllm", "serve"]'):  # fmt: skip
        assert line in OURS
    assert OURS.count("\nFROM ") == 2 and "\nRUN --mount" not in OURS


@pytest.mark.parametrize(
    ("text", "given", "told"),
    [
        ("FROM debian:13", {}, "builds on 'debian:13', allowed: an image by digest"),
        ("FROM debian", {}, "builds on 'debian'"),
        ("ARG B=debian:13\nFROM ${B}", {}, "builds on 'debian:13'"),
        ("ARG B\nFROM $B", {"B": "debian"}, "builds on 'debian'"),
        (f"FROM {PINNED} AS a\nFROM b", {}, "builds on 'b'"),
        (f"FROM {PINNED}\nCOPY --from=busybox:1 /a /a", {}, "builds on 'busybox:1'"),
        ("FROM --platform=linux/arm64 \\\n  debian:13", {}, "builds on 'debian:13'"),
        ("# nothing", {}, "has no FROM"),
        (f"ARG JOBS=1\nFROM {PINNED}", {"JOB": "2"}, "JOB: the Dockerfile has no such ARG; did"),
    ],
)
def test_what_is_not_pinned_is_refused(text: str, given: dict[str, str], told: str) -> None:
    found = dockerfile.problems(text, given)
    assert len(found) == 1 and told in found[0], found


@pytest.mark.parametrize(
    "text",
    [
        f"FROM {PINNED}",
        f"FROM {PINNED} AS a\nFROM A",
        f"FROM {PINNED}\nFROM scratch\nCOPY --from=0 /a /a",
        f"ARG TARGETARCH\nFROM {PINNED}",
        f"ARG V=a@sha256:{'c' * 64}\nFROM ${{V}}\nARG V",
    ],
)
def test_what_is_pinned_is_taken(text: str) -> None:
    assert dockerfile.problems(text, {}) == []


def test_the_same_inputs_have_one_name_and_others_another(tmp_path: Path) -> None:
    (tmp_path / "Dockerfile").write_text(f"ARG JOBS=1\nFROM {PINNED}\n")
    first = images.build(settings(tmp_path))
    assert images.build(settings(tmp_path)).key == first.key
    assert images.build(settings(tmp_path, image_build_args={"JOBS": "2"})).key != first.key
    (tmp_path / "note").write_text("more\n")
    assert images.build(settings(tmp_path)).key != first.key


def test_a_folder_that_cannot_be_sent_is_told(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="without a Dockerfile"):
        images.build(settings(tmp_path))
    (tmp_path / "Dockerfile").write_bytes(b"\xff\xfe")
    with pytest.raises(SettingsError, match="unreadable: not text"):
        images.build(settings(tmp_path))
    (tmp_path / "large").write_bytes(b"x" * (images.MOST_CONTEXT + 1))
    with pytest.raises(SettingsError, match="more than 1 MiB"):
        images.build(settings(tmp_path))


@pytest.mark.parametrize(
    "value", ["0.0.0.0:5000", "127.0.0.1:5000", "registry.lab:5000", "192.0.2.1:80", "192.0.2.1:0"]
)
def test_an_address_is_an_address_and_a_port(value: str) -> None:
    with pytest.raises(ValidationError, match="allowed: IPV4:PORT"):
        ImageSettings(image_builder="spark-01", image_registry=value)


def test_a_builder_needs_an_address_to_serve_at() -> None:
    with pytest.raises(ValidationError, match="where image_builder serves what it builds"):
        ImageSettings(image_builder="spark-01")
