"""The fast network alone, as a deploy file: what tests of it run."""

from deploys import fabric, host_settings

fabric.run(settings=host_settings())
