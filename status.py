"""What each host serves and whether it is as declared; read-only, safe at any time.

pyinfra inventory.py status.py                    a table
pyinfra inventory.py status.py --data json=true   JSON on standard output
pyinfra inventory.py status.py --data logs=50     with the last log lines of each server

Exit code 0 only if every host is as declared.
"""

from deploys import host_settings, status

status.run(settings=host_settings())
