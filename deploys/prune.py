"""Free space: weights and images that no kept release needs. Asks first, unless -y."""

from __future__ import annotations

from pyinfra.api.deploy import deploy

from deploys.removal import gone
from deploys.report import RUN, closing_table
from fleet.settings import Settings


@deploy("Prune")
def run(*, settings: Settings) -> None:
    RUN.closing = closing_table
    request = {
        "hub": settings.hub,
        "snapshots": [lock.snapshot for lock in settings.locks],
        "image": settings.vllm_image,
    }
    gone(
        name="Remove what no kept release needs",
        settings=settings,
        program="unneeded",
        request=request,
        nothing="nothing to free",
    )
