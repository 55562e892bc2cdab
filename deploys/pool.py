"""A slot in pyinfra's pool for every host of the run: they wait for each other in one operation."""

from __future__ import annotations

import os
import resource

from gevent.pool import Pool
from pyinfra.api.state import State

FILES_PER_HOST = 3  # sockets and pipes a connected host holds open in pyinfra
ALONE = ("_serial", "_parallel")  # pyinfra's words for operations that run on few hosts at once


def problem(state: State, hosts: int) -> str:
    """Why not all ``hosts`` can have a slot at once; "" once they have it."""
    chosen = state.config.PARALLEL
    if chosen >= hosts:
        return ""
    open_files = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    if chosen != min(20 * (os.cpu_count() or 1), len(state.inventory), (open_files - 10) // 3):
        return (
            f"PARALLEL: found {chosen}, allowed: at least {hosts}, one for each host of the run; "
            "drop --parallel, or limit the run with --limit"
        )
    if open_files < FILES_PER_HOST * hosts + 64:
        return (
            f"open files: found a limit of {open_files}, {hosts} hosts need "
            f"{FILES_PER_HOST * hosts + 64}; raise it with 'ulimit -n'"
        )
    state.pool, state.fact_pool = Pool(hosts), Pool(hosts)
    state.config.PARALLEL = hosts  # by this an operation goes over the hosts in batches
    return ""
