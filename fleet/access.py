"""Who may use the API from outside the host, and how: key, certificate, paths, limits.

On loopback none of it applies. Beyond, HAProxy stands in front of vLLM, which itself only ever
listens on loopback.
"""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, ValidationInfo, field_validator

from fleet.strict import Strict
from fleet.words import Networks

# What clients of an inference server need, and nothing that steers the server.
PATHS = (
    *("/v1/models", "/v1/completions", "/v1/chat/completions", "/v1/responses", "/v1/messages"),
    *("/v1/embeddings", "/v1/rerank", "/v1/score", "/v1/audio/transcriptions"),
    "/v1/audio/translations",
)
# Of vLLM, what steers it or tells of it; some only where a variable opens them.
STEERING = (
    *("/metrics", "/server_info", "/load", "/sleep", "/wake_up", "/is_sleeping", "/pause"),
    *("/resume", "/is_paused", "/abort_requests", "/collective_rpc", "/reset_prefix_cache"),
    *("/reset_mm_cache", "/reset_encoder_cache", "/start_profile", "/stop_profile"),
    *("/scale_elastic_ep", "/is_scaling_elastic_ep", "/init_weight_transfer_engine"),
    *("/update_weights", "/start_weight_update", "/finish_weight_update", "/get_world_size"),
    *("/v1/load_lora_adapter", "/v1/unload_lora_adapter"),
)


def control_side_file(value: str) -> str:
    """The path of a file that holds a secret, and not the secret itself."""
    if not value.strip() or not value.isprintable() or value.startswith(("hf_", "sk-")):
        raise ValueError("allowed: the path of a file that holds it, on the control side")
    return value


def _path(value: str) -> str:
    """What is listed opens all that lies below it, so nothing that steers may."""
    steers = any(f"{one}/".startswith(f"{value}/") or f"{value}/".startswith(f"{one}/")
                 for one in STEERING)  # fmt: skip
    if not re.fullmatch(r"(/[A-Za-z0-9_-]+)+", value) or steers:
        raise ValueError("allowed: a path of vLLM's API such as /v1/completions, none that steers")
    return value


def _name(value: str) -> str:
    if not re.fullmatch(r"(?i)([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)*[a-z0-9-]{1,63}", value):
        raise ValueError("allowed: a host name, or an IPv4 address")
    return value


File = Annotated[str, AfterValidator(control_side_file)]
Paths = Annotated[tuple[Annotated[str, AfterValidator(_path)], ...], Field(strict=False)]
Names = Annotated[tuple[Annotated[str, AfterValidator(_name)], ...], Field(strict=False)]


class AccessSettings(Strict):
    """The API beyond loopback."""

    api_port: int = Field(
        default=8443,
        ge=1,
        le=65535,
        description="TCP port of the API where listen is not loopback: HAProxy's. vLLM stays on "
        "127.0.0.1 and port",
    )
    api_auth: Literal["key", "none"] = Field(
        default="key",
        description="'key': clients send 'Authorization: Bearer KEY'; 'none' lets everybody in of "
        "allowed_sources, and is refused beyond loopback without the firewall",
    )
    secrets_dir: File = Field(
        default="secrets",
        description="Folder on the control side where made keys and certificates are kept",
    )
    api_key_file: File | None = Field(
        default=None,
        description="File on the control side that holds the API key; further lines are keys that "
        "are accepted as well. Default: api_key in secrets_dir, made if there is none",
    )
    tls: Literal["own-ca", "files", "off"] = Field(
        default="own-ca",
        description="'own-ca': certificates of an authority in secrets_dir, made and renewed by "
        "deploy.py; 'files': tls_certificate_file; 'off': keys and answers can be read on the way",
    )
    tls_certificate_file: File | None = Field(
        default=None,
        validate_default=True,
        description="Certificate chain, PEM, on the control side (ACME: docs/security.md)",
    )
    tls_key_file: File | None = Field(
        default=None,
        validate_default=True,
        description="Its private key, PEM, on the control side",
    )
    api_names: Names = Field(
        default=(),
        description="More names of the host in its certificate, beside its own and ssh_hostname",
    )
    api_paths: Paths = Field(
        default=PATHS,
        min_length=1,
        description="Paths that are let through, each with what lies below it",
    )
    metrics_sources: Networks = Field(
        default=(), description="Networks whose hosts may read /metrics; no key is asked of them"
    )
    max_body_mib: int = Field(
        default=32, ge=1, le=1024, description="Largest request (MiB); images travel inside"
    )
    requests_per_minute: int = Field(
        default=1200, ge=1, le=10**6, description="Requests of one client address in a minute"
    )
    unlimited_sources: Networks = Field(
        default=(),
        description="Networks whose hosts no limit for one address holds: a gateway in front",
    )
    max_connections: int = Field(
        default=512, ge=8, le=20000, description="Connections that are served at once"
    )
    answer_timeout_s: int = Field(
        default=3600, ge=10, le=86400, description="Longest silence of an answer under way"
    )

    @field_validator("tls_certificate_file", "tls_key_file")
    @classmethod
    def _with_files(cls, value: str | None, info: ValidationInfo) -> str | None:
        if (info.data.get("tls") == "files") != (value is not None):
            raise ValueError("allowed: a file where tls is 'files', and only there")
        return value
