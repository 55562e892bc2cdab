"""How a run asks, stops and ends: confirmation, interruption, closing report, exit code.

``deploys/engine.py`` puts these in the place of pyinfra's own.
"""

from __future__ import annotations

import sys
from types import FrameType

import gevent
from pyinfra.api.connect import connect_all, disconnect_all
from pyinfra.api.exceptions import PyinfraError
from pyinfra.api.operations import run_ops
from pyinfra.api.state import State, StateStage
from pyinfra_cli import cli
from pyinfra_cli.exceptions import CliError
from pyinfra_cli.prints import build_plan_json

from deploys import invocation, report

READS_ONLY = {"status.py", "verify.py"}
EXIT_INTERRUPTED = 128
END_S = 5  # for greenlets to end

_confirm = cli._do_confirm
_exit = cli._exit


def reads_only() -> bool:
    """Whether this run changes nothing by its nature."""
    files = set(invocation.deploy_files())
    return bool(files) and files <= READS_ONLY


def fail_percent() -> int:
    """One failed host stops a run before its next step: nothing is switched on a fleet that could
    not be staged as a whole. What only reads tells of every host it can reach.
    """
    return 100 if reads_only() else 0


def connect(state: State) -> None:
    """Connect to all hosts; one that cannot be reached stops a run that would change others."""
    try:
        connect_all(state)
    except PyinfraError:
        lost = sorted(host.name for host in state.failed_hosts)
        report.RUN.unreachable(lost)
        if reads_only():
            _tell_that_none_answers()
            sys.exit(report.RUN.exit_code())
        raise CliError(
            f"unreachable: {', '.join(lost)}; nothing was changed on any host; mend them, or go "
            f"on without them: {' '.join(f'--exclude {name}' for name in lost)}"
        ) from None
    report.RUN.unreachable(sorted(host.name for host in state.failed_hosts))


def _tell_that_none_answers() -> None:
    """pyinfra loads no deploy file when no host is left; its report is due all the same."""
    import deploys.status  # these import us
    import deploys.verify

    for file, expect in (
        ("status.py", deploys.status.expect),
        ("verify.py", deploys.verify.expect),
    ):
        if file in invocation.deploy_files():
            expect()
    report.RUN.close(set())


def no_prompts(state: State, config: object) -> None:
    """A failed host stops the run, with a person at the terminal as without."""


def confirm(question: str) -> bool:
    """Ask before changes are made; a plan without any is carried out without asking."""
    if not _changes():
        return True
    report.RUN.tell_plan()
    if not sys.stdin.isatty():
        raise CliError(
            "confirmation: found no terminal to ask on; add -y to make these changes, or --dry to "
            "look only; nothing was changed"
        )
    try:
        return bool(_confirm(question))
    except EOFError:
        return False


def _changes() -> bool:
    plan = build_plan_json(cli.ctx_state.get())
    return any(step["hosts_with_change"] or step["hosts_with_conditional_change"] for step in plan)


def execute(state: State, serial: bool = False, no_wait: bool = False) -> None:
    """All operations; when hosts failed the exit code says what became of the fleet."""
    if serial or no_wait:
        option = "--serial" if serial else "--no-wait"
        raise CliError(f"{option}: not allowed, waves need all hosts in one run; use wave_size")
    try:
        run_ops(state)
    except PyinfraError as error:
        report.RUN.close({host.name for host in state.failed_hosts})
        print(f"stopped: {error}", file=sys.stderr)
        sys.exit(report.RUN.exit_code() or report.EXIT_REFUSED)
    finally:
        report.RUN.close({host.name for host in state.failed_hosts})


def leave() -> None:
    """End the process with the run's exit code."""
    if cli.ctx_state.isset() and cli.ctx_state.get().initialised:
        if cli.ctx_state.get().current_stage >= StateStage.Execute:
            sys.exit(report.RUN.exit_code())
        if report.RUN.blocked:
            sys.exit(report.EXIT_REFUSED)
    _exit()


def disconnect(state: State) -> None:
    """The last thing pyinfra does, whatever came before; so our report is the last that is read.

    After an interruption the hosts' greenlets are ended first: they hold the pool's slots, and
    would go on with the next wave.
    """
    try:
        if report.RUN.interrupted and state.pool is not None:
            state.pool.kill(timeout=END_S)
        disconnect_all(state)
    finally:
        report.RUN.tell()


def interrupted(signum: int, frame: FrameType | None) -> None:
    """Ctrl-C and SIGTERM. A transaction that has begun on a host goes on without us."""
    print(
        "stopped by the operator; a switch that had begun on a host ends by itself: "
        "'pyinfra inventory.py status.py' shows it, the same command run again heals it",
        file=sys.stderr,
    )
    for name, kind in sorted(report.RUN.following):
        print(
            f"{name}: the {kind} goes on there; the same command follows it again"
            + ("; download.py --data cancel=true stops it" if kind == "download" else ""),
            file=sys.stderr,
        )
    report.RUN.interrupted = EXIT_INTERRUPTED + signum
    _end_main(SystemExit(report.RUN.interrupted))


def _end_main(end: SystemExit) -> None:
    """Python handles a signal in whichever greenlet runs; one that paramiko made as its thread
    would swallow the end of the process."""
    hub = gevent.get_hub()
    main = hub.parent
    if main is None or gevent.getcurrent() is main:
        raise end
    hub.loop.run_callback(main.throw, end)
