"""Measure what the hosts serve, by vLLM's own benchmark; results in evidence/benchmark/.

pyinfra inventory.py benchmark.py
pyinfra inventory.py benchmark.py --data bench_concurrency=1,4,16
pyinfra inventory.py benchmark.py --data bench_offline=true        also without the server

Nothing is stopped, but for the offline part, wave by wave; a second model is never loaded. 'fleet
report' makes a page of the results, 'fleet baseline set' what later switches are compared with.
"""

from deploys import benchmark, cache, gateway, host_settings, monitoring, serves, verify

settings = host_settings()

if serves(settings):
    cache.run(settings=settings)  # the host programs as they are here
    benchmark.run(settings=settings)
    verify.run(settings=settings)
gateway.prove(settings=settings)
monitoring.prove(settings=settings)
