"""Another API key for all hosts that share one: canary first, in waves, each proved.

pyinfra inventory.py rotate_key.py                            the old key ends with this run
pyinfra inventory.py rotate_key.py --data key_overlap=true    it is accepted until the next one

First every host accepts both keys; only then the new one replaces the old in its file on the
control side, and the old one is dropped. Answers under way are not cut. Killed, run it again.
"""

from deploys import gateway, host_settings, monitoring, rotation, serves, verify

settings = host_settings()

if serves(settings):
    rotation.run(settings=settings)
gateway.run(settings=settings)  # it shows the replicas the new key
if serves(settings):
    verify.run(settings=settings)
gateway.prove(settings=settings)
monitoring.prove(settings=settings)
