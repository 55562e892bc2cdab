"""``fabric_test``: how fast each function is between the first and the last host of a replica."""

from __future__ import annotations

from pyinfra import host
from pyinfra.api.command import FunctionCommand, StringCommand
from pyinfra.api.host import Host
from pyinfra.api.operation import operation
from pyinfra.api.state import State

from deploys import engine, remote
from deploys.host_state import current
from deploys.operations import Commands
from deploys.report import RUN
from fleet.fabric import Cabled, FabricError, cage
from fleet.fabric_facts import Fabric
from fleet.preflight_fabric import bandwidth
from fleet.settings import Settings

PORT = 12000
SECONDS = 5
UNIT = "vllm-fleet-bandwidth"
_facts: dict[str, Fabric] = {}


@operation()
def measured(settings: Settings) -> Commands:
    """One function after the other; what came of it stands in the report, and stops nothing."""
    _facts[settings.host] = current(settings).fabric
    members = [n for n, s in engine.SETTINGS.items() if s.replica == settings.replica and s.fabric]
    if settings.replica is None or len(members) < 2 or settings.host != members[-1]:
        host.noop("the last host of the replica measures")
        return
    yield FunctionCommand(_measure, (settings, members[0]), {})


def _measure(state: State, host: Host, settings: Settings, first: str) -> None:
    server = state.inventory.get_host(first)
    found = RUN.findings.setdefault(host.name, [])
    for number in (0, 1):
        try:
            said = _between(server, engine.SETTINGS[first], host, settings, number)
        except (remote.Refused, FabricError, OSError, EOFError) as error:
            said = str(error)
        found.append(bandwidth(first, number, said))


def _between(server: Host, its: Settings, client: Host, ours: Settings, number: int) -> str:
    """What ib_write_bw said, run on ``client`` against ``server``."""
    words = f"-i 1 -p {PORT + number} -F --report_gbits -D {SECONDS}"
    listen = f"ib_write_bw -d {_device(its, number)} {words}"
    remote.run(server, StringCommand("command -v ib_write_bw"))
    remote.run(
        server,
        StringCommand(
            f"systemd-run --quiet --collect --unit={UNIT}-{number} "
            f"--property=RuntimeMaxSec={SECONDS + 30} {listen}"
        ),
    )
    address = _cabled(its).plain[number]
    command = f"sleep 1; timeout 30 ib_write_bw -d {_device(ours, number)} {words}"
    return "\n".join(remote.run(client, StringCommand(f"{command} {address}")))


def _cabled(settings: Settings) -> Cabled:
    if settings.fabric is None:
        raise FabricError(f"{settings.host}: no fabric is set")
    return settings.fabric


def _device(settings: Settings, number: int) -> str:
    device = cage(_cabled(settings), _facts[settings.host])[number].rdma
    if device is None:
        raise FabricError(f"{settings.host}: no RDMA device; load mlx5_ib")
    return device
