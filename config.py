"""pyinfra settings of this project; pyinfra reads them before it loads the inventory."""

from pyinfra import config

from deploys import ending, engine

config.REQUIRE_PYINFRA_VERSION = "==3.10.*"
config.SUDO = True
config.FAIL_PERCENT = ending.fail_percent()

engine.install()
