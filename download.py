"""Bring models into the hosts' caches, whole and checked; nothing that serves is touched.

pyinfra inventory.py download.py                                    the model that is declared
pyinfra inventory.py download.py --data vllm_model=ORG/NAME         another one, in advance
pyinfra inventory.py download.py --data deep_check=true             read all of it again
pyinfra inventory.py download.py --data cancel=true                 stop downloads that run
"""

from deploys import cache, host_settings, image, model, preflight, serves

settings = host_settings()

if settings.cancel:
    model.cancel(settings=settings)
elif serves(settings):
    preflight.run(settings=settings)
    cache.run(settings=settings)
    image.run(settings=settings)
    model.run(settings=settings)
