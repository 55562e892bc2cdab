"""An SSH server on loopback that takes everybody and runs nothing: a program of its own.

Prints its port. What it is asked to run never ends.
"""

from __future__ import annotations

import socket
import threading

import paramiko


class Open(paramiko.ServerInterface):
    def check_auth_password(self, username: str, password: str) -> int:
        return paramiko.AUTH_SUCCESSFUL

    def check_channel_request(self, kind: str, chanid: int) -> int:
        return paramiko.OPEN_SUCCEEDED

    def check_channel_exec_request(self, channel: paramiko.Channel, command: bytes) -> bool:
        return True


listener = socket.create_server(("127.0.0.1", 0))
print(listener.getsockname()[1], flush=True)
connection, _ = listener.accept()
transport = paramiko.Transport(connection)
transport.add_server_key(paramiko.ECDSAKey.generate())
transport.start_server(server=Open())
threading.Event().wait(60)
