"""A threaded HTTP server on a socket that already listens, with TLS done per connection."""

import socket
import socketserver
import ssl
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

QUIET = (ConnectionError, TimeoutError, ssl.SSLError)  # what clients that go away look like


def secure(certificate: str, key: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    return context


class Server(socketserver.ThreadingMixIn, HTTPServer):
    """Handshakes happen in the connection's own thread: one slow client delays nobody."""

    daemon_threads = True

    def __init__(
        self,
        sock: socket.socket,
        handler: type[BaseHTTPRequestHandler],
        tls: ssl.SSLContext | None = None,
    ) -> None:
        socketserver.BaseServer.__init__(self, sock.getsockname(), handler)
        self.socket, self.tls = sock, tls
        self.server_name, self.server_port = str(sock.getsockname()[0]), sock.getsockname()[1]

    def finish_request(self, request: Any, client_address: Any) -> None:
        """Wrap, handle, and end TLS with close_notify: OpenSSL 3 calls its absence an error."""
        if self.tls is None:
            super().finish_request(request, client_address)
            return
        request.settimeout(30)
        secured = self.tls.wrap_socket(request, server_side=True)
        try:
            super().finish_request(secured, client_address)
            secured.unwrap()
        except OSError as error:
            if not isinstance(error, QUIET):
                raise
        finally:
            secured.close()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Report what is ours; a client that hung up is no news."""
        if not isinstance(sys.exc_info()[1], QUIET):
            super().handle_error(request, client_address)
