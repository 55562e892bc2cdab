"""Build our own image on image_builder; every host then has it, pulled by digest. docs/images.md

pyinfra inventory.py build.py
"""

from deploys import base, build, docker, host_settings, preflight

settings = host_settings()

preflight.run(settings=settings)
base.run(settings=settings)
docker.run(settings=settings)
build.run(settings=settings)
