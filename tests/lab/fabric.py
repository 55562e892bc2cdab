"""The fabric step alone, as a deploy file."""

from deploys import fabric, host_settings

fabric.run(settings=host_settings())
