"""Free space: weights and images that no kept release needs. Asks first, unless -y."""

from __future__ import annotations

from pyinfra import host
from pyinfra.api.deploy import deploy

from deploys.removal import gone, weights_stay
from deploys.report import RUN, closing_table
from fleet.settings import Settings


def request(settings: Settings) -> dict[str, object]:
    """What ``files/unneeded.py`` is asked."""
    return {
        "weights": not weights_stay(settings),
        "hub": settings.hub,
        "snapshots": [lock.snapshot for lock in settings.locks],
        "image": settings.vllm_image,
    }


@deploy("Prune")
def run(*, settings: Settings) -> None:
    RUN.closing = closing_table
    if line := weights_stay(settings):
        host.log(line)
    gone(
        name="Remove what no kept release needs",
        settings=settings,
        program="unneeded",
        request=request(settings),
        nothing="nothing to free",
    )
