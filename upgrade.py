"""Move hosts to the pins of group_data: kernel, driver, container toolkit, Docker. Wave by wave.

pyinfra inventory.py upgrade.py --dry     shows what would move
pyinfra inventory.py upgrade.py           moves it; hosts that serve are drained and stopped in turn

DGX OS moves its own packages (DGX Dashboard); a host of it is only rebooted into what it has.
"""

from deploys import gateway, host_settings, monitoring, preflight, serves, upgrade

settings = host_settings()

gateway.heal(settings=settings)  # only in the group gateway
if serves(settings):
    preflight.before_upgrade(settings=settings)
    upgrade.run(settings=settings)
gateway.prove(settings=settings)
monitoring.prove(settings=settings)
