"""API and gateway ports reach only who is meant to. A table of our own; ssh is not in it."""

from __future__ import annotations

from pyinfra import host
from pyinfra.api.command import StringCommand
from pyinfra.api.deploy import deploy
from pyinfra.api.operation import operation

from deploys import members
from deploys.host_state import Watch, current, forget
from deploys.operations import Commands, File, refuse, tree
from fleet import gateway, host_files
from fleet.settings import Settings


def ports(settings: Settings) -> tuple[int, ...]:
    """The gateway's, where the host is one; the API's, and vLLM's own: releases from before there
    was a proxy listen beyond loopback."""
    name = settings.host
    of_gateway = {settings.gateway_port} if name in members.GATEWAYS else set()
    of_server = {settings.port, settings.open_port} if name in members.SERVING else set()
    return tuple(sorted(of_gateway | of_server))


def _with_gateways(settings: Settings) -> Settings:
    """Whoever else may reach a replica, the gateways have to."""
    gateways = gateway.unlimited(map(members.reached_at, members.gateways(host.inventory)))
    allowed = dict.fromkeys((*settings.allowed_sources, *gateways))
    return settings.model_copy(update={"allowed_sources": tuple(allowed)})


def _files(settings: Settings) -> dict[str, str]:
    return host_files.firewall(_with_gateways(settings), ports(settings))


def watch(settings: Settings) -> Watch:
    return Watch(
        files=tuple(_files(settings)),
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
    wanted = host_files.firewall_digest(_with_gateways(settings), ports(settings))
    if enabled and now.firewall == wanted:
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
                f"firewall: found sshd on port {port}, which is {_whose(settings, port)} port; "
                "closing it would cut this connection: choose another port"
            )
    return ""


def _whose(settings: Settings, port: int) -> str:
    return "the API" if port in (settings.port, settings.open_port) else "the gateway's"


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
    texts = _files(settings)
    units = (host_files.FIREWALL,)
    if settings.firewall:
        files = {path: File(text) for path, text in texts.items()}
        harmless(name="Keep our own connection", settings=settings)
        tree(name="Write the firewall's rules", settings=settings, files=files, units=units)
        loaded(name="Load the firewall's rules", settings=settings)
    else:
        unloaded(name="Unload the firewall's rules", settings=settings)
        tree(name="Remove the firewall's rules", settings=settings, files={}, absent=tuple(texts))
