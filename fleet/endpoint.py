"""What a person may set about the endpoint in front of many replicas."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from fleet.serve import address
from fleet.strict import Strict


class GatewaySettings(Strict):
    """The endpoint of the inventory's group gateway."""

    gateway_listen: Annotated[str, AfterValidator(address)] = Field(
        default="0.0.0.0", description="Address the gateway listens on"
    )
    gateway_port: int = Field(
        default=443, ge=1, le=65535, description="TCP port of the gateway; key and TLS as api_…"
    )
    gateway_sticky: Literal["off", "session"] = Field(
        default="off",
        description="'session': requests with the same x-session-id header (without one, of the "
        "same client address) go to the same replica and find its prefix cache, unless that has "
        "a quarter more to do than the others; 'off': the replica with the fewest requests",
    )
    gateway_check_timeout_s: int = Field(
        default=120,
        ge=2,
        le=3600,
        description="Seconds a replica's test completion may take, behind a full queue too; one "
        "that is not reached at all is out after seconds",
    )
    drain_limit_s: int = Field(
        default=300,
        ge=0,
        le=7200,
        description="Seconds that a replica's requests at the gateway may take to end before its "
        "switch begins; what is left then has the mode's drain_timeout_s",
    )
