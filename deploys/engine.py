"""What this project adds to a pyinfra run: settings checked before the first connection, a quick
SSH transport, and an exit code that tells the truth.

``config.py`` calls ``install``. pyinfra offers no hooks for these, so names inside it are replaced;
``tests/deploys/test_engine.py`` fails when a pyinfra release no longer has one of them.
"""

from __future__ import annotations

import signal
import socket
import time
from collections.abc import Callable, Iterable
from typing import Any

from pyinfra.api import arguments
from pyinfra.api.command import StringCommand
from pyinfra.api.exceptions import ConnectError, PyinfraError
from pyinfra.api.host import Host
from pyinfra.api.inventory import Inventory
from pyinfra.api.state import State
from pyinfra.connectors.ssh import SSHConnector
from pyinfra.connectors.util import CommandOutput
from pyinfra_cli import cli
from pyinfra_cli import inventory as theirs
from pyinfra_cli.exceptions import CliError

from deploys import (
    bookkeeping,
    bundle,
    control_files,
    ending,
    first_contact,
    heartbeat,
    inventory_check,
    inventory_file,
    invocation,
    locks,
    members,
    pool,
    provenance,
    report,
)
from fleet import baseline, fabric, images, replicas
from fleet import settings as fleet_settings
from fleet.problems import shown
from fleet.serve import ServeSettings
from fleet.settings import Settings, SettingsError
from fleet.untrusted import steerless
from fleet.waves import RolloutSettings

SETTINGS: dict[str, Settings] = {}
# These take a replica whole or not at all.
CHANGE_SERVING = {"deploy.py", "switch.py", "rollback.py", "upgrade.py", "remove.py"}

_connect = SSHConnector._connect
_run = SSHConnector.run_shell_command
_apply_limit = cli._apply_inventory_limit
_apply_exclude = cli._apply_inventory_exclude


def install() -> None:
    """Put the checks in place; called once, by ``config.py``, before the inventory is read."""
    for place, name, ours in replacements():
        setattr(place, name, ours)
    signal.signal(signal.SIGINT, ending.interrupted)
    signal.signal(signal.SIGTERM, ending.interrupted)


def replacements() -> list[tuple[object, str, Callable[..., object]]]:
    """Where, under which name, and by what pyinfra's own functions are replaced."""
    return [
        (SSHConnector, "_connect", _connect_tuned),
        (SSHConnector, "run_shell_command", _run_shell_command),
        (bookkeeping.operations, "get_operation_order_from_stack", bookkeeping.order),
        (arguments, "all_global_arguments", bookkeeping.argument_types),
        (bookkeeping.operations, "pop_global_arguments", bookkeeping.pop_arguments),
        (bookkeeping.deploys, "pop_global_arguments", bookkeeping.pop_arguments),
        (cli, "make_inventory", inventory_file.make),
        (cli, "_set_override_data", inventory_file.override_data),
        (theirs, "_get_groups_from_filename", inventory_file.groups),
        (theirs, "_get_group_data", inventory_file.group_values),
        (cli, "_apply_inventory_limit", _limit_that_matches),
        (cli, "_apply_inventory_exclude", _exclude_then_check),
        (cli, "connect_all", _make_room_then_connect),
        (cli, "run_ops", ending.execute),
        (cli, "disconnect_all", ending.disconnect),
        (cli, "_set_fail_prompts", ending.no_prompts),
        (cli, "_do_confirm", ending.confirm),
        (cli, "_exit", ending.leave),
    ]


def _connect_tuned(self: SSHConnector) -> None:
    _check_host_keys(self)
    first_contact.hide(self)
    if "bootstrap.py" in invocation.deploy_files():
        first_contact.connect(self, SETTINGS[self.host.name], _connect_by_key)
    else:
        _connect_by_key(self)
    transport = self.client.get_transport() if self.client else None
    if transport is None:
        return
    heartbeat.watch(transport)
    if settings := SETTINGS.get(self.host.name):
        bundle.reconnected(self.host.name, transport, settings)
    # Without it each remote command waits about 43 ms for a delayed ACK. A jump host's channel
    # is no socket.
    if setsockopt := getattr(transport.sock, "setsockopt", None):
        setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def _connect_by_key(connector: SSHConnector) -> None:
    """pyinfra ends the whole run, in a traceback, for a private key that it cannot read."""
    try:
        _connect(connector)
    except ConnectError:
        raise
    except PyinfraError as error:
        found = shown(connector.host.data.get("ssh_key"))
        raise ConnectError(
            f"ssh_key: found {found}, {error}; allowed: a readable private key"
        ) from error


def _check_host_keys(connector: SSHConnector) -> None:
    """A host that shows another key than the known one, or none that is known, is not talked to,
    whatever inventory and ssh_config say; a first contact may take the key it is shown where a
    person said so (pyinfra's own default is the same word), and --dry keeps none."""
    data: dict[str, Any] = connector.data  # type: ignore[assignment]
    first = "bootstrap.py" in invocation.deploy_files() and not invocation.dry()
    if not (first and connector.host.data.get("ssh_strict_host_key_checking") == "accept-new"):
        data["ssh_strict_host_key_checking"] = "yes"


def _run_shell_command(
    self: SSHConnector,
    command: StringCommand,
    print_output: bool = False,
    print_input: bool = False,
    **arguments: Any,
) -> tuple[bool, CommandOutput]:
    """A broken connection is told as one: pyinfra takes it for a command that failed in silence."""
    try:
        ok, output = _run(self, command, print_output, print_input, **arguments)
    except EOFError as error:
        raise report.RUN.broke(self.host.name) from error
    if not ok and not _stands(self):
        raise report.RUN.broke(self.host.name)
    for line in output.combined_lines:  # pyinfra prints what a failed command said
        line.line = steerless(line.line)
    report.RUN.ended(self.host.name, ok, [*output.stdout_lines, *output.stderr_lines])
    return ok, output


def _stands(connector: SSHConnector) -> bool:
    time.sleep(0.1)  # paramiko closes the channels first, then says that the transport is gone
    transport = connector.client.get_transport() if connector.client else None
    return transport is not None and transport.is_active()


def _limit_that_matches(inventory: Inventory, limit: Iterable[str] | None) -> list[Host] | None:
    _refuse_idle("--limit", inventory, limit)
    return _apply_limit(inventory, limit)


def _refuse_idle(option: str, inventory: Inventory, patterns: Iterable[str] | None) -> None:
    """A pattern that matches nothing is a typing mistake, also beside one that matches."""
    for pattern in patterns or ():
        if not _apply_limit(inventory, [pattern]):
            known = ", ".join([*inventory.groups, *(host.name for host in inventory)])
            raise CliError(f"{option}: found {pattern}, which matches no host; allowed: {known}")


def _exclude_then_check(
    inventory: Inventory, limit: list[Host] | None, exclude: Iterable[str] | None
) -> list[Host] | None:
    """The hosts of the run; every mistake in any host's settings stops here, unconnected."""
    _refuse_idle("--exclude", inventory, exclude)
    hosts: list[Host] | None = _apply_exclude(inventory, limit, exclude)
    asked = list(inventory) if hosts is None else hosts
    if not asked:
        file = invocation.inventory_file()
        raise CliError(f"{file}: found no host to work on; add one, or drop --exclude")
    inventory_file.refuse(check_settings(inventory), "settings")
    names = {host.name for host in asked}
    changes = CHANGE_SERVING & set(invocation.deploy_files())
    if changes and (torn := replicas.torn(SETTINGS, names)):
        raise CliError(torn[0])
    report.RUN.ask_for(host.name for host in inventory if host.name in names)
    return hosts


def _make_room_then_connect(state: State) -> None:
    if problem := _unplanned(state) or pool.problem(state, len(report.RUN.results)):
        raise CliError(problem)
    ending.connect(state)


def _unplanned(state: State) -> str:
    """With -y pyinfra makes no plan, so that --dry beside it would find nothing wrong anywhere."""
    if state.check_for_changes or not invocation.dry():
        return ""
    return "--dry: found -y (or PYINFRA_YES) beside it, with which there is no plan; drop one"


def check_settings(inventory: Inventory) -> list[str]:
    """Fill ``SETTINGS`` for all hosts of the inventory; every mistake found, one line each."""
    SETTINGS.clear()
    file, found = invocation.inventory_file(), locks.Locks()
    problems = inventory_check.same_address(inventory, file)
    ranks = replicas.ranks({host.name: host.data.dict() for host in inventory})
    for host in inventory:
        where, data = provenance.where(host, file), _before_it_is_built(host.data.dict())
        problems += inventory_check.mistakes(host, data, where)
        try:
            SETTINGS[host.name] = fleet_settings.load(
                host.name, data, where, ranks=ranks[host.name], catalogue=found.catalogue(data)
            )
            if invocation.fetches():
                problems += bundle.mistakes(SETTINGS[host.name])
            if "bootstrap.py" in invocation.deploy_files():
                problems += first_contact.mistakes(host, SETTINGS[host.name], where)
        except SettingsError as error:
            problems += error.problems
    if {"deploy.py", "switch.py"} & set(invocation.deploy_files()):
        problems += baseline.mistakes(SETTINGS.values())
    place, deciding = provenance.of_host(inventory), ServeSettings.model_fields.keys()
    unlike = replicas.mistakes(SETTINGS, deciding - {"cluster_address"}, place)
    problems += members.find(inventory, SETTINGS)
    problems += control_files.mistakes(inventory, SETTINGS)
    return problems + _rollout_problems() + fabric.mistakes(SETTINGS, place) + unlike


def _before_it_is_built(data: dict[str, object]) -> dict[str, object]:
    """build.py may run while there is no image yet that vllm_image could name."""
    if "build.py" in invocation.deploy_files() and not data.get("vllm_image"):
        return {**data, "vllm_image": images.UNBUILT}
    return data


def _rollout_problems() -> list[str]:
    keys = RolloutSettings.model_fields
    return [
        f"{key}: found {', '.join(sorted(map(repr, values)))} on different hosts; "
        "allowed: one value for all hosts of a run; set it in group_data/all.py or with --data"
        for key in keys
        if len(values := {getattr(settings, key) for settings in SETTINGS.values()}) > 1
    ]
