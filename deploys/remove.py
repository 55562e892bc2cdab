"""Take away what this project put on a host, and only that. Asks first, unless -y.

Packages stay (kernel, driver, toolkit, Docker), and so do the keys in Docker's daemon.json: other
software of the host may have come to need them.
"""

from __future__ import annotations

import layout
from pyinfra import host
from pyinfra.api.deploy import deploy

from deploys import metrics
from deploys.removal import gone, weights_stay
from deploys.report import RUN, closing_table
from fleet import host_files
from fleet.settings import Settings


def owned() -> list[str]:
    """Patterns of the files outside our own folders."""
    return [
        str(layout.UNIT_FILE),
        str(layout.REGISTRY_UNIT_FILE),
        str(layout.HAPROXY_UNIT_FILE),
        *(f"{host_files.UNITS}/{name}" for name in (*metrics.unit_files(), layout.PROMETHEUS_UNIT)),
        *host_files.owned(),
    ]


def request(settings: Settings) -> dict[str, object]:
    """What ``files/remove.py`` is asked."""
    return {
        "files": owned(),
        "hub": settings.hub,
        "weights": settings.remove_weights and not weights_stay(settings),
        "images": settings.remove_images,
    }


@deploy("Remove")
def run(*, settings: Settings) -> None:
    RUN.closing = closing_table
    if settings.remove_weights and (line := weights_stay(settings)):
        host.log(line)
    gone(
        name="Take away what is ours",
        settings=settings,
        program="remove",
        request=request(settings),
        nothing="nothing of ours",
    )
