"""The lab's hosts behind one endpoint, watched: the last host is gateway and monitor, no more."""

from lab.inventory import spark as _all

*spark, _last = _all
gateway = [_last]
monitoring = [_last]
