"""Deploy steps: one module a step, each a function of the host's ``Settings``."""

from __future__ import annotations

import sys
from pathlib import Path

from pyinfra import host
from pyinfra.api.exceptions import DeployError

# pyinfra turns this off, and a seventh of a run's processor time went into compiling our modules.
sys.dont_write_bytecode = bool(sys.flags.dont_write_bytecode)

# files/layout.py says where things lie on a host; last, so that it hides no other module.
sys.path.append(str(Path(__file__).parent.parent / "files"))

from deploys import engine, members  # noqa: E402
from fleet.settings import Settings  # noqa: E402


def host_settings() -> Settings:
    """The current host's settings, checked for the whole fleet before the first connection."""
    settings = engine.SETTINGS.get(host.name)
    if settings is None:
        raise DeployError(
            f"host {host.name}: no checked settings; "
            "run pyinfra in the project's folder, where config.py is"
        )
    return settings


def serves(settings: Settings) -> bool:
    """Whether the host is more than a gateway."""
    return settings.host in members.SERVING
