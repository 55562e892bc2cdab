"""Free space on the hosts: the weights and images of ours that no kept release needs.

pyinfra inventory.py prune.py           lists them with their sizes, then asks
pyinfra inventory.py prune.py --dry     lists them

What is declared stays, also where it is not served yet; so do models that other tools brought.
"""

from deploys import host_settings, prune

prune.run(settings=host_settings())
