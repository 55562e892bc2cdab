"""Take away what this project put on the hosts, and only that.

pyinfra inventory.py remove.py                               lists it, then asks
pyinfra inventory.py remove.py --data remove_weights=true    also the models that it downloaded
pyinfra inventory.py remove.py --data remove_images=true     also the images that it served from
"""

from deploys import host_settings, remove

remove.run(settings=host_settings())
