"""Inventory of the lab: the hosts of the lab that is up ($LAB_NAME, else ``lab``).

Reading it moves pyinfra into the lab's network namespace, where the hosts are, and nothing else.
"""

from pyinfra.api.exceptions import PyinfraError

from lab.command import LabError
from lab.network import enter
from lab.paths import default_name
from lab.state import SSH_USER, load

try:
    _state = load(default_name())
    enter(_state.netns)
except LabError as error:
    raise PyinfraError(str(error)) from None

spark = [
    (
        host.name,
        {
            "ssh_hostname": host.address,
            "ssh_user": SSH_USER,
            "ssh_key": str(_state.ssh_key),
            "ssh_known_hosts_file": str(_state.known_hosts),
            "ssh_strict_host_key_checking": "yes",
        },
    )
    for host in _state.hosts
]
