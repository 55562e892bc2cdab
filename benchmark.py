"""Measure what the hosts serve, by vLLM's own benchmark; results in evidence/benchmark/.

pyinfra inventory.py benchmark.py
pyinfra inventory.py benchmark.py --data bench_concurrency=1,4,16

Nothing is stopped and no second model is loaded. 'fleet report' makes a page of the results,
'fleet baseline set' what later switches are compared with.
"""

from deploys import benchmark, cache, host_settings, serves, verify

settings = host_settings()

if serves(settings):
    cache.run(settings=settings)  # the host programs as they are here
    benchmark.run(settings=settings)
    verify.run(settings=settings)
