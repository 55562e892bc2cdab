"""The whole runbook: a bare or half-done host ends serving the chosen mode, proved.

pyinfra inventory.py deploy.py            shows what would change, then asks
pyinfra inventory.py deploy.py --dry      shows it and stops
"""

from deploys import (
    arguments,
    base,
    cache,
    docker,
    driver,
    fabric,
    firewall,
    gateway,
    host_settings,
    image,
    metrics,
    model,
    monitoring,
    nfs,
    preflight,
    proxy,
    serve,
    serves,
    toolkit,
    verify,
)

settings = host_settings()

if serves(settings):
    preflight.run(settings=settings)
    base.run(settings=settings)
    driver.run(settings=settings)  # may reboot: before anything that serves is touched
    preflight.again(settings=settings)  # only for hosts of a replica
    docker.run(settings=settings)
    firewall.run(settings=settings)  # before anything listens
    fabric.run(settings=settings)  # only for hosts that are cabled
    toolkit.run(settings=settings)  # its CDI devices need driver and Docker
    nfs.run(settings=settings)  # only where hosts share one cache
    cache.run(settings=settings)
    image.run(settings=settings)
    arguments.run(settings=settings)  # before a long download
    toolkit.prove(settings=settings)
    model.run(settings=settings)  # downloads with the image's own huggingface_hub
    proxy.run(settings=settings)  # only where the API is reached from outside the host
gateway.run(settings=settings)  # only in the group gateway
if serves(settings):
    serve.run(settings=settings)
    verify.run(settings=settings)
metrics.run(settings=settings)  # only where the inventory has a group monitoring
monitoring.run(settings=settings)  # only in that group
gateway.prove(settings=settings)
monitoring.prove(settings=settings)
