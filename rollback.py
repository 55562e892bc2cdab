"""Each host back to the release it served before; waves, gate and reverting as in deploy.py.

pyinfra inventory.py rollback.py --data reason="answers turned out worse"

A host that has gone back stays where it is when this runs again; deploy.py leads forward.
"""

from deploys import gateway, host_settings, monitoring, rollback, serves, verify

settings = host_settings()

gateway.heal(settings=settings)  # only in the group gateway
if serves(settings):
    rollback.run(settings=settings)
    verify.run(settings=settings)
gateway.prove(settings=settings)
monitoring.prove(settings=settings)
