"""Our own image: what it is built from, where it is built, and how the fleet gets it."""

from __future__ import annotations

import hashlib
import ipaddress
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, Field, ValidationInfo, field_validator

from fleet import dockerfile
from fleet.problems import SettingsError
from fleet.strict import Strict
from fleet.words import BuildArguments, Line

UNBUILT = "unbuilt@sha256:" + "0" * 64  # stands for vllm_image until there is an image to name
MOST_CONTEXT = 1 << 20  # bytes of the build folder: it travels as text
DOCKERFILE = "Dockerfile"
_HERE = Path(__file__).parent.parent


def _address(value: str) -> str:
    host, _, port = value.rpartition(":")
    try:
        found = ipaddress.IPv4Address(host)
        if (
            found.is_unspecified
            or found.is_loopback
            or not re.fullmatch(r"[1-9]\d{0,4}", port)
            or not 1024 <= int(port) <= 65535
        ):
            raise ValueError
    except ValueError:
        raise ValueError(
            "allowed: IPV4:PORT, an address of image_builder that all hosts reach"
        ) from None
    return value


class ImageSettings(Strict):
    """Our own image, built once and pulled by digest; build.py."""

    image_builder: Line | None = Field(
        default=None, description="The one host that builds the image and serves it to the others"
    )
    image_registry: Annotated[str, AfterValidator(_address)] | None = Field(
        default=None,
        validate_default=True,
        description="IPV4:PORT of image_builder at which it serves images; every host's Docker is "
        "told that this address speaks HTTP, what it pulls is checked by digest",
    )
    image_name: str = Field(
        default="vllm-gb10",
        pattern=r"^[a-z0-9]+([._-][a-z0-9]+)*$",
        description="The image's name in that registry",
    )
    image_folder: Line = Field(
        default="files/image",
        description="Folder on the control side with the Dockerfile and what it copies: text",
    )
    image_build_args: BuildArguments = Field(
        default={},
        description="Build arguments; base images by digest. Not for secrets: an image shows them",
    )
    image_build_memory_gib: float = Field(
        default=48.0,
        ge=0,
        description="MemAvailable (GiB) that a build may begin with; compiling vLLM takes 4 a job",
    )

    @field_validator("image_registry")
    @classmethod
    def _of_a_builder(cls, value: str | None, info: ValidationInfo) -> str | None:
        if value is None and info.data.get("image_builder"):
            raise ValueError("allowed: IPV4:PORT, where image_builder serves what it builds")
        return value


@dataclass(frozen=True)
class Build:
    """What decides the image. ``key`` names it: the same inputs are built once."""

    name: str
    files: Mapping[str, str]
    args: Mapping[str, str]

    @property
    def key(self) -> str:
        inputs = json.dumps([self.name, dict(self.files), dict(self.args)], sort_keys=True)
        return hashlib.sha256(inputs.encode()).hexdigest()[:12]


def build(settings: ImageSettings) -> Build:
    """The build of ``settings``; SettingsError has a line for every mistake."""
    folder = _HERE / Path(settings.image_folder).expanduser()
    files = _files(folder, settings.image_folder)
    if DOCKERFILE not in files:
        raise SettingsError(f"image_folder: found {settings.image_folder}, without a {DOCKERFILE}")
    found = dockerfile.problems(files[DOCKERFILE], settings.image_build_args)
    if found:
        raise SettingsError(*(f"{settings.image_folder}/{DOCKERFILE}: {line}" for line in found))
    return Build(settings.image_name, files, settings.image_build_args)


def _files(folder: Path, named: str) -> dict[str, str]:
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    if sum(path.stat().st_size for path in paths) > MOST_CONTEXT:
        raise SettingsError(
            f"image_folder: found {named} with more than {MOST_CONTEXT >> 20} MiB, allowed: the "
            "Dockerfile and small text files; let it fetch what is large, with its sha256"
        )
    try:
        return {str(path.relative_to(folder)): path.read_text("utf-8") for path in paths}
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not text"
        raise SettingsError(f"image_folder: found {named}, unreadable: {reason}") from None


def insecure(settings: ImageSettings) -> dict[str, list[str]]:
    """What Docker has to be told to pull from a registry without TLS; nothing without one."""
    return {"insecure-registries": [settings.image_registry]} if settings.image_registry else {}


def registry_config(settings: ImageSettings, store: str) -> str:
    """The fleet's registry: only reading. JSON is YAML."""
    config = {
        "version": "0.1",
        "log": {"level": "info"},
        "storage": {
            "filesystem": {"rootdirectory": store},
            "maintenance": {"readonly": {"enabled": True}, "uploadpurging": {"enabled": False}},
        },
        "http": {"addr": settings.image_registry},
    }
    return json.dumps(config, indent=1) + "\n"
