"""Asks this host's API the way a client does: through the proxy, with and without a key.

Runs on the host with what it imports (deploys/programs.py); keys travel on stdin. Request:
{"address", "port", "name" (what the certificate must be for), "ca" (PEM; "" = do not check the
certificate, null = no TLS), "accepted": [keys], "refused": [keys], "timeout_s"}. Without any key in
"accepted" none is asked for. Asks until all is as wanted or the time is over; prints
{"problems": [line]}.
"""

import http.client
import json
import os
import socket
import ssl
import time
from typing import Any

import tcp_table

PATH = "/v1/models"
NO_KEY = "a key that nobody has"
LIMITED = "429"  # leaves open whether the key would have been taken
LIMIT_S = 70.0  # over a minute, in which the proxy counts wrong keys


def status(request: dict[str, Any], key: str) -> str:
    """The status of one request, or why there is none."""
    where, bound = (request["address"], int(request["port"])), 10.0
    connection = http.client.HTTPConnection(*where, timeout=bound)
    try:
        plain = socket.create_connection(where, timeout=bound)
        connection.sock = plain if request["ca"] is None else secured(plain, request)
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        connection.request("GET", PATH, headers=headers)
        return str(connection.getresponse().status)
    except (OSError, http.client.HTTPException) as error:
        return str(error) or type(error).__name__
    finally:
        connection.close()


def secured(plain: socket.socket, request: dict[str, Any]) -> ssl.SSLSocket:
    context = ssl.create_default_context(cadata=request["ca"] or None)
    if not request["ca"]:
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context.wrap_socket(plain, server_hostname=request["name"])


def stranger(port: int) -> str:
    """The user who listens on ``port`` and is not root, as the proxy is when it begins to listen;
    "" where there is none. Without a certificate that is checked anybody could be asked."""
    users = (words[7] for _, words in tcp_table.listening(port))
    return next((user for user in users if int(user) not in (0, os.getuid())), "")


def problems(request: dict[str, Any]) -> list[str]:
    """What is not as wanted; no line holds a key."""
    accepted, refused = request["accepted"], request["refused"]
    cases = [("with an accepted key", key, "200") for key in accepted]
    cases += [("with a revoked key", key, "401") for key in refused]
    if accepted:
        cases += [("without a key", "", "401"), ("with a wrong key", NO_KEY, "401")]
    else:
        cases += [("without a key", "", "200")]
    place = f"{request['address']}:{request['port']}{PATH}"
    if user := stranger(int(request["port"])):
        return [f"{place}: user {user} listens there in the proxy's place; no key was sent"]
    asked = [(what, status(request, key), wanted) for what, key, wanted in cases]
    return [f"{place} {what}: found {s}, wanted {w}" for what, s, w in asked if s != w]


def settled(request: dict[str, Any]) -> list[str]:
    """As ``problems``, once all is as wanted or the time is over. A proxy that had too many wrong
    keys, those of a run just before this one too, is asked again when its minute is over."""
    began, patience_s = time.monotonic(), float(request.get("timeout_s", 10))
    while found := problems(request):
        limited = any(f"found {LIMITED}," in line for line in found)
        if time.monotonic() - began > (max(patience_s, LIMIT_S) if limited else patience_s):
            break
        time.sleep(2.0 if limited else 0.5)
    return found


def main(request: dict[str, Any]) -> None:
    print(json.dumps({"problems": settled(request)}), flush=True)
