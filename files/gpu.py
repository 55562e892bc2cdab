"""What the GPU does now, by nvidia-smi, and whether its clock follows the work."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field

import command
from errors import HostError

FIELDS = (
    *("name", "driver_version", "pstate", "clocks.sm", "clocks.max.sm"),
    *("temperature.gpu", "power.draw", "utilization.gpu"),
)
PERIOD_S = 1.0
STUCK = 0.5  # of the highest clock: below it under load a GB10 gives about half of its speed
HOT_C = 90


def state() -> dict[str, str]:
    """Each of ``FIELDS`` as nvidia-smi writes it; raises HostError where it gives no answer."""
    argv = ["nvidia-smi", f"--query-gpu={','.join(FIELDS)}", "--format=csv,noheader"]
    values = [value.strip() for value in command.run(argv).split("\n")[0].split(",")]
    if len(values) != len(FIELDS):
        raise HostError(f"nvidia-smi: found {len(values)} values, wanted {len(FIELDS)}")
    return dict(zip(FIELDS, values, strict=True))


def number(text: str | None) -> float | None:
    """The number that ``text`` begins with, as in "208 MHz"; None where there is none."""
    try:
        return float((text or "").split()[0])
    except (IndexError, ValueError):
        return None


@dataclass
class Watch:
    """Reads the GPU every ``PERIOD_S`` seconds of its ``with`` block."""

    seen: list[dict[str, str]] = field(default_factory=list)
    error: str = ""

    def __enter__(self) -> Watch:
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join(timeout=40)

    def _read(self) -> None:
        while True:
            try:
                self.seen.append(state())
            except HostError as error:
                self.error = str(error)
                return
            if self._end.wait(PERIOD_S):
                return

    def highest(self, name: str) -> float | None:
        """The highest value of a field that was seen."""
        return max(
            (v for one in self.seen if (v := number(one.get(name))) is not None), default=None
        )


def problems(watch: Watch) -> list[str]:
    """What about the GPU, seen under load, makes figures worth little; one line each."""
    if not watch.seen:
        return [f"the GPU's clock is not known: {watch.error or 'no answer'}"]
    clock, most = watch.highest("clocks.sm"), watch.highest("clocks.max.sm")
    heat, found = watch.highest("temperature.gpu"), []
    if clock is not None and most and clock < STUCK * most:
        found.append(
            f"GPU clock: found at most {clock:.0f} MHz under load, wanted {STUCK * most:.0f} of "
            f"{most:.0f} MHz; it is stuck, figures are about halved: take the power cable out"
        )
    if heat is not None and heat >= HOT_C:
        found.append(f"GPU temperature: found {heat:.0f} C, wanted below {HOT_C}; let it cool")
    return found
