"""Hosts with cores of their own, for benchmarks/converge.py: each answers what it answered before.

A stand-in for ``python3`` on a lab host takes the program on its stdin, waits as long as the real
one took when its host had the machine to itself, and prints what the real one printed. SSH, sudo
and all of the control side are as ever; only the processor time that twenty machines would not take
from each other is left out.
"""

from __future__ import annotations

from collections.abc import Callable

from lab.testing import Lab

PROGRAM = "/usr/local/bin/python3"  # sudo looks here first
KEPT = "/run/replay"
STANDIN = f"""#!/bin/sh
# Stand-in for python3, of benchmarks/replay.py: the answers that it gave before.
program=$(mktemp) && cat > "$program"
kind=$(sed -n "s/^sys.modules.'\\(snapshot\\|prove\\)'..main(.*/\\1/p" "$program")
[ -n "$kind" ] || exec /usr/bin/python3 "$@" < "$program"
if [ -f {KEPT}/$kind.s ]; then
    rm "$program"
    sleep "$(cat {KEPT}/$kind.s)"
    exec cat {KEPT}/$kind
fi
began=$(date +%s%N)
/usr/bin/python3 "$@" < "$program" | tee {KEPT}/$kind
took=$(( ($(date +%s%N) - began) / 1000000 ))
printf '%d.%03d\\n' $(( took / 1000 )) $(( took % 1000 )) > {KEPT}/$kind.s
rm "$program"
"""


def install(lab: Lab, run: Callable[[str], object]) -> None:
    """``run`` is called for each host alone, so that its answers and their times are kept."""
    for host in lab.names:
        lab.run(host, f"mkdir -p {KEPT}")
        lab.write(host, PROGRAM, STANDIN)
        lab.run(host, f"chmod 755 {PROGRAM}")
        run(host)


def times(lab: Lab) -> str:
    """Which seconds the hosts wait, from the shortest to the longest."""
    told = [lab.text(host, f"cat {KEPT}/*.s").split() for host in lab.names]
    prove, snapshot = (sorted(one) for one in zip(*told, strict=True))
    return f"reading {snapshot[0]} to {snapshot[-1]} s, proof {prove[0]} to {prove[-1]} s"
