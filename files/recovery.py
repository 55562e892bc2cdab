"""After a boot that interrupted an activation: choose what this host is to serve."""

from __future__ import annotations

import hostlock
import journal
import phases
import release as releases
import systemd
from phases import Activation


def recover() -> dict[str, object]:
    """Before vllm.service starts: if a boot interrupted an activation, choose what to serve."""
    activation = journal.load()
    if activation is None or activation.boot_id == hostlock.boot_id():
        return {}
    course = phases.course(activation, same_boot=False)
    if course == "nothing":
        return {}
    owner = hostlock.owner(activation.who, activation.origin, f"recover {activation.id}")
    hostlock.take(owner)
    taken_up = taken_up_after_boot(activation, course)
    journal.keep_if_possible(taken_up)
    systemd.launch_activation()
    return phases.report(taken_up, alive=True)


def taken_up_after_boot(activation: Activation, course: phases.Course) -> Activation:
    """The links set for ``course``, and the record as it goes on in this boot."""
    reason = f"the host went down in phase {activation.phase}"
    if course in ("revert", "restart"):
        releases.point(current=activation.before, previous=activation.before_previous)
        # without an old release there is only the rest of the way back
        phase: phases.Phase = "restarting" if activation.before else "reverting"
        reason = "; ".join(filter(None, (activation.reason, reason)))
    else:
        releases.point(current=activation.release, previous=activation.before_previous)
        phase = "flipped"
    return phases.moved(
        activation,
        phase,
        stopped=activation.stopped or _power_lost(activation),
        boot_id=hostlock.boot_id(),
        reason="" if phase == "flipped" else reason,
        notes=[*activation.notes, reason],
    )


def _power_lost(activation: Activation) -> float | None:
    """When what served went down with the host: soon after its last record in these phases."""
    return activation.updated if activation.before is not None else None
