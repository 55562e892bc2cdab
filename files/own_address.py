"""Which address of this host our SSH connection came in on; prints {"address": it or null}."""

import json
from typing import Any

from facts_fabric import ssh_address


def main(request: dict[str, Any]) -> None:
    print(json.dumps({"address": ssh_address()}))
