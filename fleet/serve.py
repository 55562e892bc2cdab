"""The settings that decide what a host serves."""

from __future__ import annotations

import ipaddress
import re
from typing import Annotated

from pydantic import AfterValidator, Field

from fleet.arguments import ArgumentOverrides, EnvironmentOverrides
from fleet.models import Repo
from fleet.modes import Fraction
from fleet.replicas import ReplicaSettings
from fleet.strict import Strict
from fleet.words import unscoped


def address(value: str) -> str:
    """An IP address without a scope, else ValueError."""
    unscoped(value)
    try:
        ipaddress.ip_address(value)
    except ValueError:
        raise ValueError("allowed: an IP address of the host, such as 127.0.0.1") from None
    return value


def _folder(value: str) -> str:
    if not re.fullmatch(r"(/[A-Za-z0-9._-]+)+", value) or ".." in value.split("/"):
        raise ValueError("allowed: an absolute path of letters, digits, '.', '_' and '-'")
    return value


def _endpoint(value: str) -> str:
    if not re.fullmatch(r"https://[A-Za-z0-9.-]+(:\d{1,5})?(/[A-Za-z0-9._/-]*)?", value):
        raise ValueError("allowed: an https:// address without user or password")
    return value


def _hours(value: str) -> str:
    hour = r"([01]\d|2[0-3]):[0-5]\d"
    if not re.fullmatch(f"{hour}-{hour}", value) or value[:5] == value[6:]:
        raise ValueError("allowed: two different times of day, such as 22:00-06:00")
    return value


def _served_name(value: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._:/@+-]{0,199}", value):
        raise ValueError("allowed: letters, digits and . _ : / @ + -, a letter or digit first")
    return value


def _control_side_file(value: str) -> str:
    if not value.strip() or not value.isprintable() or value.startswith("hf_"):
        raise ValueError("allowed: the path of a file that holds it, on the control side")
    return value


Image = Annotated[str, Field(pattern=r"^[a-z0-9]+([._:/-]+[A-Za-z0-9_]+)*@sha256:[0-9a-f]{64}$")]
Parallel = Annotated[int, Field(ge=1, le=1024)]


class HubSettings(Strict):
    """Where models come from, and how sure a run must be of them."""

    hf_endpoint: Annotated[str, AfterValidator(_endpoint)] = Field(
        default="https://huggingface.co", description="The Hub that models come from"
    )
    hf_token_file: Annotated[str, AfterValidator(_control_side_file)] | None = Field(
        default=None,
        description="File on the control side that holds a Hub token; for gated models",
    )
    download_mbit: float = Field(
        default=0.0,
        ge=0,
        le=1_000_000,
        description="Mbit/s that a host's download from the Hub takes at most; 0: no limit",
    )
    download_hours: Annotated[str, AfterValidator(_hours)] | None = Field(
        default=None,
        description="Hours of the day in which hosts download, '22:00-06:00' by their own clocks; "
        "outside of them a download waits",
    )
    download_patience_s: int = Field(
        default=600,
        ge=1,
        le=86400,
        description="Seconds that a file is tried again while the Hub fails to give it",
    )
    require_locks: bool = Field(
        default=False,
        description="Refuse a model without a lock in models/; else the Hub is asked, and the "
        "lock holds for the one run",
    )


class ServeSettings(HubSettings, ReplicaSettings):
    """What a host serves, and where."""

    vllm_mode: str = Field(description="the name of a file in modes/")
    vllm_model: Repo = Field(
        description="ORG/NAME, a model of the Hub; its lock in models/ pins it"
    )
    vllm_image: Image = Field(
        description="an image pinned by digest, NAME@sha256:<64 hex digits>; print one with: "
        "fleet lock image NAME:TAG"
    )
    vllm_args: ArgumentOverrides = Field(
        default={},
        description="vLLM arguments over those of the mode; null takes one of the mode's out",
    )
    vllm_env: EnvironmentOverrides = Field(
        default={},
        description="Environment over that of the mode; null takes one of the mode's out",
    )
    vllm_speculator: Repo | None = Field(
        default=None,
        description="Draft model of the speculative mode. Default: what models/speculators.yaml "
        "knows for the model",
    )
    served_name: Annotated[str, AfterValidator(_served_name)] | None = Field(
        default=None, description="The model's name in the API. Default: vllm_model"
    )
    memory_fraction: Fraction | None = Field(
        default=None,
        description="Part of the GPU's memory vLLM takes, 0.90 at most. Default: the mode's",
    )
    memory_floor_gib: float = Field(
        default=8.0,
        ge=0,
        le=64,
        description="Memory that stays free for the system; GB10 hosts freeze without any",
    )
    tensor_parallel: Parallel = Field(
        default=1, description="GPUs that share each layer; a GB10 host has one GPU"
    )
    pipeline_parallel: Parallel = Field(
        default=1, description="Groups of GPUs that hold successive layers"
    )
    data_parallel: Parallel = Field(
        default=1, description="Copies of the model inside one replica; MoE models only"
    )
    listen: Annotated[str, AfterValidator(address)] = Field(
        default="127.0.0.1", description="Address the API listens on; loopback keeps others out"
    )
    port: int = Field(
        default=8000, ge=1024, le=65535, description="TCP port of the API; vLLM wants 1024 or more"
    )
    keep_releases: int = Field(
        default=2, ge=0, le=50, description="Releases kept besides the current and the previous"
    )
    models_dir: Annotated[str, AfterValidator(_folder)] = Field(
        default="/srv/models", description="Where hosts keep weights; hub/ in it is a Hub cache"
    )

    @property
    def gpus(self) -> int:
        """GPUs, and so hosts, that one replica takes."""
        return self.tensor_parallel * self.pipeline_parallel * self.data_parallel

    @property
    def hub(self) -> str:
        """The Hub cache on the hosts."""
        return f"{self.models_dir}/hub"
