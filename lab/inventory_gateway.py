"""The lab's hosts behind one endpoint: the last host is the gateway and nothing else."""

from lab.inventory import spark as _all

*spark, _last = _all
gateway = [_last]
