"""The gate: the one process through which lab hosts reach packages, and nothing else.

It listens inside the lab's network namespace: :80 and :443 serve the web root by Host name, the
Hub's names are handed to the Hub stand-in, :3142 is a caching proxy whose own requests leave from
this machine's namespace. Run as ``python -m lab.supply.gate CONFIG.json``; ends on SIGTERM.
"""

import json
import os
import signal
import socket
import sys
import threading
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

from lab.network import inside
from lab.supply.proxy import Proxy
from lab.supply.server import Server, secure
from lab.supply.site import RequestLog, SiteHandler
from lab.supply.sources import PROXY_PORT


def listener(address: str, port: int) -> socket.socket:
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind((address, port))
    sock.listen(128)
    return sock


def serve(config: dict[str, Any]) -> None:
    """Begin to serve; writes the ready file once all ports listen."""
    with inside(config["netns"]):  # before any thread starts
        ports = {port: listener(config["address"], port) for port in (80, 443, PROXY_PORT)}
    log = RequestLog(Path(config["log"]))
    site = SiteHandler.over(Path(config["www"]), Path(config["hub"]), log)
    tls = secure(config["certificate"], config["key"])
    handlers: dict[int, type[BaseHTTPRequestHandler]] = {80: site, 443: site}
    handlers[PROXY_PORT] = Proxy.caching(log)
    for port, handler in handlers.items():
        server = Server(ports[port], handler, tls if port == 443 else None)
        threading.Thread(target=server.serve_forever, daemon=True).start()
    Path(config["ready"]).write_text(str(os.getpid()))


def main() -> None:
    stop = {signal.SIGTERM, signal.SIGINT}
    signal.pthread_sigmask(signal.SIG_BLOCK, stop)
    serve(json.loads(Path(sys.argv[1]).read_text()))
    signal.sigwait(stop)
    os._exit(0)  # threads that still send must not hold it up


if __name__ == "__main__":
    main()
