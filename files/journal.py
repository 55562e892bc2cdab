"""Keeps the record of an activation: on disk at each phase, in /run for every detail."""

from __future__ import annotations

import time
from dataclasses import asdict, replace

import durable
import layout
import phases
from errors import HostError
from phases import Activation


def load() -> Activation | None:
    """The last activation: the live record of this boot, or else the one on disk."""
    for path in (layout.ACTIVATION_LIVE, layout.ACTIVATION):
        record = durable.read_json(path)
        if record is not None:
            return phases.load(record)
    return None


def keep(activation: Activation) -> Activation:
    """Put the record on disk, then into /run; raises HostError if the disk takes it not."""
    try:
        durable.write_json(layout.ACTIVATION, asdict(activation))
    except OSError as error:
        raise HostError(f"{layout.ACTIVATION}: {error.strerror}; free or mend the disk") from None
    return show(activation)


def keep_if_possible(activation: Activation) -> Activation:
    """Like ``keep``, but a bad disk is only told: going back must not depend on it."""
    try:
        return keep(activation)
    except HostError as error:
        return show(replace(activation, notes=[*activation.notes, str(error)]))


def show(activation: Activation) -> Activation:
    """Put the record into /run only."""
    activation = replace(activation, updated=time.time())
    durable.write_json(layout.ACTIVATION_LIVE, asdict(activation), flush=False)
    return activation
