"""Change what the fleet serves; cannot reach driver or Docker.

pyinfra inventory.py switch.py --data vllm_mode=nvfp4
"""

from deploys import (
    arguments,
    cache,
    gateway,
    host_settings,
    image,
    model,
    monitoring,
    preflight,
    proxy,
    serve,
    serves,
    verify,
)

settings = host_settings()

if serves(settings):
    preflight.run(settings=settings)
    cache.run(settings=settings)
    image.run(settings=settings)
    arguments.run(settings=settings)
    model.run(settings=settings)
    proxy.run(settings=settings)
gateway.run(settings=settings)
if serves(settings):
    serve.run(settings=settings)
    verify.run(settings=settings)
gateway.prove(settings=settings)
monitoring.prove(settings=settings)
