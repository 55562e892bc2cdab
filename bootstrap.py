"""First contact with a factory-fresh machine: afterwards our user opens it by key.

FLEET_FIRST_PASSWORD=… pyinfra inventory.py bootstrap.py --data first_user=nvidia
"""

from deploys import bootstrap, host_settings

bootstrap.run(settings=host_settings())
