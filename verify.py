"""Prove that every host answers as declared; read-only, safe at any time."""

from deploys import gateway, host_settings, monitoring, serves, verify

settings = host_settings()

if serves(settings):
    verify.run(settings=settings)
gateway.prove(settings=settings)
monitoring.prove(settings=settings)
