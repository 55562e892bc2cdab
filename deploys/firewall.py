"""The API port reaches only those it is meant for. A table of our own; ssh is not in it."""

from __future__ import annotations

from pyinfra import host
from pyinfra.api.command import StringCommand
from pyinfra.api.deploy import deploy
from pyinfra.api.operation import operation

from deploys.host_state import Watch, current, forget
from deploys.operations import Commands, File, refuse, tree
from fleet import host_files
from fleet.settings import Settings


def ports(settings: Settings) -> tuple[int, ...]:
    """The API's, and vLLM's own: releases from before there was a proxy listen beyond loopback."""
    return tuple(sorted({settings.port, settings.open_port}))


def watch(settings: Settings) -> Watch:
    return Watch(
        files=tuple(host_files.firewall(settings, ports(settings))),
        units=(host_files.FIREWALL,),
        ports=ports(settings),
    )


@operation()
def harmless(settings: Settings) -> Commands:
    """The rules leave our own connection alone; asked before their file is there for a boot."""
    if line := lockout(settings):
        yield refuse(line)
    else:
        host.noop("our own connection is not in them")


@operation()
def loaded(settings: Settings) -> Commands:
    """The kernel holds the wanted rules, also after somebody flushed them, also after a boot."""
    now = current(settings)
    unit = now.units.get(host_files.FIREWALL)
    enabled = unit is not None and unit.UnitFileState == "enabled"
    if enabled and now.firewall == host_files.firewall_digest(settings, ports(settings)):
        host.noop("the rules are loaded")
        return
    forget()
    yield StringCommand(f"nft --check --file {host_files.FIREWALL_RULES}")
    yield StringCommand("systemctl", "enable", "--quiet", host_files.FIREWALL)
    yield StringCommand("systemctl", "restart", host_files.FIREWALL)


def lockout(settings: Settings) -> str:
    """Why these rules would cut our own connection; "" when they would not."""
    ours = host.data.get("ssh_port") or 22
    listeners = current(settings).listeners
    for port in ports(settings):
        here = [x.cmd or "" for x in listeners if x.port == port]
        if port == ours or any("sshd" in command for command in here):
            return (
                f"firewall: found sshd on port {port}, which is the API port; "
                "closing it would cut this connection: choose another port"
            )
    return ""


@operation()
def unloaded(settings: Settings) -> Commands:
    """Our table is gone where no firewall is asked for."""
    unit = current(settings).units.get(host_files.FIREWALL)
    installed = unit is not None and unit.UnitFileState == "enabled"
    if current(settings).firewall is None and not installed:
        host.noop("no table of ours is loaded")
        return
    forget()
    if installed:
        yield StringCommand("systemctl", "disable", "--now", "--quiet", host_files.FIREWALL)
    if current(settings).firewall is not None:
        forget()
        yield StringCommand("nft delete table inet vllm_fleet")


@deploy("Firewall")
def run(*, settings: Settings) -> None:
    texts = host_files.firewall(settings, ports(settings))
    units = (host_files.FIREWALL,)
    if settings.firewall:
        files = {path: File(text) for path, text in texts.items()}
        harmless(name="Keep our own connection", settings=settings)
        tree(name="Write the firewall's rules", settings=settings, files=files, units=units)
        loaded(name="Load the firewall's rules", settings=settings)
    else:
        unloaded(name="Unload the firewall's rules", settings=settings)
        tree(name="Remove the firewall's rules", settings=settings, files={}, absent=tuple(texts))
