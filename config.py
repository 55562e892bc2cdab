"""pyinfra settings of this project; pyinfra reads them before it loads the inventory."""

from pyinfra import config

from deploys import engine

config.REQUIRE_PYINFRA_VERSION = "==3.10.*"
config.SUDO = True
# One failed host stops the run before the next operation: nothing is switched on a fleet
# that could not be staged as a whole.
config.FAIL_PERCENT = 0

engine.install()
