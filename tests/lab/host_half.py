"""The host half of the runbook alone, as a deploy file: what tests of it run."""

from deploys import base, docker, driver, host_settings, preflight, toolkit

settings = host_settings()

preflight.run(settings=settings)
base.run(settings=settings)
driver.run(settings=settings)
docker.run(settings=settings)
toolkit.run(settings=settings)
