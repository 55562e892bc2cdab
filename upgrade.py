"""Move hosts to the pins of group_data: kernel, driver, container toolkit, Docker. Wave by wave.

pyinfra inventory.py upgrade.py --dry     shows what would move
pyinfra inventory.py upgrade.py           moves it; hosts that serve are stopped in their turn

DGX OS moves its own packages (DGX Dashboard); a host of it is only rebooted into what it has.
"""

from deploys import host_settings, preflight, serves, upgrade

settings = host_settings()

if serves(settings):
    preflight.before_upgrade(settings=settings)
    upgrade.run(settings=settings)
