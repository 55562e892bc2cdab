"""A new API key through the waves: accepted beside the old one, promoted, the old one dropped."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path

from pyinfra import host, logger, state
from pyinfra.api.command import FunctionCommand, PyinfraCommand, StringCommand
from pyinfra.api.deploy import deploy
from pyinfra.api.host import Host
from pyinfra.api.operation import operation
from pyinfra.api.state import State

from deploys import engine, proxy, remote, turns
from deploys import haproxy as instances
from deploys.host_state import current, forget
from deploys.operations import Commands, refuse, tell
from deploys.report import RUN, closing_table
from fleet import haproxy, vault
from fleet.problems import SettingsError
from fleet.settings import Settings

ACCEPT = "rotate: accept the new key"
DROP = "rotate: drop the old key"
_old: dict[Path, list[str]] = {}  # key file → the keys before this run


def has_key(settings: Settings) -> bool:
    return settings.exposed and settings.api_auth == "key"


def left_out(settings: Settings) -> list[str]:
    """Hosts that share the key and are not in this run: they would refuse the new one."""
    path = vault.key_path(settings)
    return [
        name
        for name, other in engine.SETTINGS.items()
        if has_key(other) and vault.key_path(other) == path and name not in RUN.results
    ]


def _problem(settings: Settings) -> str:
    if not vault.keys(settings):
        return f"{vault.key_path(settings)}: there is no key to replace yet; run deploy.py"
    if missing := left_out(settings):
        return f"api key: {', '.join(missing)} share it and are not in this run; drop --limit"
    if not instances.serves(current(settings), haproxy.API):
        return f"{instances.unit(haproxy.API)} does not run; run deploy.py"
    return ""


@operation()
def accepted(settings: Settings) -> Commands:
    """The host lets in who has the old key or the new one."""
    with turns.taken(settings, ACCEPT):
        yield from _accepted(settings)


def _accepted(settings: Settings) -> Commands:
    if _without_key(settings, ACCEPT):
        return
    try:
        if problem := _problem(settings):
            yield _give_up(settings, ACCEPT, problem)
            return
        old = _old.setdefault(vault.key_path(settings), vault.keys(settings))
        coming = vault.next_key(settings, make=state.is_executing)
        wanted = proxy.files(settings, make=False, more=[coming] if coming else [])
    except SettingsError as error:
        yield _give_up(settings, ACCEPT, error.problems[0])
        return
    if coming is None or wanted is None:  # a plan, before the key is made
        yield FunctionCommand(_planned, (), {})
        return
    yield from _turn(settings, ACCEPT, wanted, [coming, *old], ())


@operation()
def dropped(settings: Settings) -> Commands:
    """The host lets in who has the key in the file, and nobody by an older one."""
    with turns.taken(settings, DROP):
        yield from _dropped(settings)


def _dropped(settings: Settings) -> Commands:
    if _without_key(settings, DROP):
        return
    if not state.is_executing:
        yield FunctionCommand(_planned, (), {})
        return
    if turns.rollout(settings, ACCEPT).broken_by:
        stays = "the old key stays: not every host accepts the new one; run it again"
        yield _give_up(settings, DROP, stays)
        return
    try:
        vault.promote(settings, overlap=settings.key_overlap)
        wanted, keys = proxy.files(settings, make=False), vault.keys(settings)
    except SettingsError as error:
        yield _give_up(settings, DROP, error.problems[0])
        return
    gone = [key for key in _old[vault.key_path(settings)] if key not in keys]
    yield from _turn(settings, DROP, wanted or {}, keys, gone)


def _without_key(settings: Settings, name: str) -> bool:
    """A host that asks for no key has no part in it, which the others must hear of."""
    if has_key(settings):
        return False
    host.noop("it asks for no key")
    if state.is_executing:
        turns.rollout(settings, name).declare(host.name, False)
    return True


def _give_up(settings: Settings, name: str, problem: str) -> FunctionCommand:
    """Fails this host; the others, which wait to hear from it, stay as they are."""
    if state.is_executing:
        roll = turns.rollout(settings, name)
        roll.declare(host.name, True)
        roll.report(host.name, "refused")
    return refuse(problem)


def _turn(
    settings: Settings,
    name: str,
    files: Mapping[str, str],
    keys: Collection[str],
    gone: Collection[str],
) -> Commands:
    commands = list(instances.bring(settings, haproxy.API, files))
    turns.rollout(settings, name).declare(host.name, bool(commands))
    if commands:
        forget()

        def turn(
            state: State, host: Host
        ) -> bool:  # pyinfra may print arguments, and keys are none
            return _take_turn(host, settings, name, commands, keys, gone)

        yield FunctionCommand(turn, (), {})


def _take_turn(
    host: Host,
    settings: Settings,
    name: str,
    commands: list[PyinfraCommand],
    keys: Collection[str],
    gone: Collection[str],
) -> bool:
    """One host's part; False unless its door opens to the wanted keys and to no other."""
    roll = turns.rollout(settings, name)
    wave = roll.turn(host.name)
    if wave is None:
        return tell(host, f"untouched: {roll.broken_by} failed before")
    problem = "the run broke off"
    try:
        for command in commands:
            assert isinstance(command, StringCommand)
            remote.run(host, command)
        problem = proxy.door(settings, keys, gone)
    except (remote.Refused, OSError, EOFError) as error:
        problem = str(error)
    finally:  # the other hosts wait for it
        roll.report(host.name, "failed" if problem else "switched")
    if problem:
        return tell(host, f"{name}: {problem}")
    host.log_styled(
        f"{name}: wave {wave + 1} of {len(roll.waves)}", fg="green", log_func=logger.info
    )
    return True


def _planned(state: State, host: Host) -> bool:
    """Stands in a plan for what depends on the key that the run itself makes."""
    return True


@deploy("Rotate the API key")
def run(*, settings: Settings) -> None:
    RUN.closing = closing_table
    accepted(name="Accept the new key beside the old one", settings=settings)
    dropped(name="Drop the old key", settings=settings)
