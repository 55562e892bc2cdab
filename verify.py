"""Prove that every host answers as declared; read-only, safe at any time."""

from deploys import host_settings, verify

verify.run(settings=host_settings())
