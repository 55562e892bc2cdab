"""The firewall step alone, as a deploy file."""

from deploys import firewall, host_settings

firewall.run(settings=host_settings())
