"""An SSH server on loopback that takes every password and no key: a program of its own.

Prints its port. What it is asked to run never ends; with ``--hang-up`` it ends the connection.
"""

from __future__ import annotations

import socket
import sys
import threading

import paramiko


class Open(paramiko.ServerInterface):
    def __init__(self, transport: paramiko.Transport) -> None:
        self.transport = transport

    def check_auth_password(self, username: str, password: str) -> int:
        return paramiko.AUTH_SUCCESSFUL

    def check_channel_request(self, kind: str, chanid: int) -> int:
        return paramiko.OPEN_SUCCEEDED

    def check_channel_exec_request(self, channel: paramiko.Channel, command: bytes) -> bool:
        if "--hang-up" in sys.argv:
            self.transport.close()
        return True


def take(connection: socket.socket) -> None:
    transport = paramiko.Transport(connection)
    transport.add_server_key(KEY)
    transport.start_server(server=Open(transport))


KEY = paramiko.ECDSAKey.generate()
listener = socket.create_server(("127.0.0.1", 0))
print(listener.getsockname()[1], flush=True)
while True:
    threading.Thread(target=take, args=listener.accept()[:1], daemon=True).start()
