"""Fault knobs of the stand-in: set by STANDIN_* variables, and at run time by a control file.

The control file ($STANDIN_CONTROL, else $VLLM_CACHE_ROOT/standin.json) is one JSON object of the
knobs below and wins over the environment. Its optional key "only" limits it to servers whose
arguments have these values: {"only": {"served-model-name": ["lab/tiny"]}, "wedge": true}.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import get_type_hints

PREFIX = "STANDIN_"
NOT_KNOBS = {"STANDIN_CONTROL"}


class FaultError(Exception):
    """A knob that does not exist or has the wrong type."""


@dataclass(frozen=True)
class Faults:
    """Everything that can be made to go wrong; the defaults are a healthy server. Times in s."""

    start_s: float = 0.0  # loading takes this much longer
    never_ready: bool = False  # loading never ends
    crash_at_start: int = 0  # exit with this status while loading
    crash_after_s: float = 0.0  # exit 1 this long after becoming ready
    crash_after_requests: int = 0  # exit 1 after this many answered requests
    engine_dead: bool = False  # /health 503, every request 500, exit 1 within seconds
    wedge: bool = False  # the engine stops stepping; /health stays 200, metrics freeze
    wedge_after_requests: int = 0
    served_name: str = ""  # answer under this name instead of the configured one
    error_500: bool = False  # every completion answers 500
    empty_text: bool = False  # completions end at once without a token
    ttft_s: float = 0.0  # prefill takes this long (the engine keeps stepping)
    itl_s: float = 0.0  # between two tokens
    never_drains: bool = False  # requests in flight never end once the server is stopping
    ignore_sigterm: bool = False
    teardown_s: float = 0.3  # from the last request to the end of the process
    no_auth: bool = False  # the API key is not asked for
    memory_mib: int = 0  # held from loading on
    max_model_len: int = 0  # what /v1/models tells
    model_root: str = ""  # what /v1/models tells to be loaded
    engine_config: Mapping[str, str] = field(default_factory=dict)  # of the log's engine line
    log_lines: list[str] = field(default_factory=list)  # said besides, while it starts
    silent_kernels: bool = False  # does not say which kernels were chosen
    listen: str = ""  # listens on this address, whatever it was told
    text: str = ""  # the words of every answer
    usage_by_chunks: bool = False  # usage counts what was sent, not tokens
    stream_cut: bool = False  # a stream ends without its usage and its end mark
    chat_500: bool = False  # every chat answers 500
    version: str = ""  # what /version tells
    metrics_status: int = 200
    metrics: Mapping[str, float | None] = field(default_factory=dict)  # name: value; null hides it
    cache_config: Mapping[str, str] = field(default_factory=dict)  # labels of cache_config_info


KINDS: dict[str, tuple[type, ...]] = {
    "float": (float, int),
    "int": (int,),
    "bool": (bool,),
    "str": (str,),
    "list": (list,),
}


def checked(knobs: Mapping[str, object], where: str) -> dict[str, object]:
    """``knobs`` as given, or FaultError naming the first one that is unknown or mistyped."""
    hints = get_type_hints(Faults)
    for name, value in knobs.items():
        if name not in hints:
            known = ", ".join(item.name for item in fields(Faults))
            raise FaultError(f"{where}: {name}: no such knob; known: {known}")
        kinds = KINDS.get(getattr(hints[name], "__name__", ""), (dict,))
        if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
            raise FaultError(f"{where}: {name}: found {value!r}, wanted {kinds[0].__name__}")
    return dict(knobs)


def from_environment(environ: Mapping[str, str]) -> Faults:
    """The knobs of STANDIN_<KNOB>=<JSON value or plain text>."""
    knobs: dict[str, object] = {}
    for name, text in environ.items():
        if name.startswith(PREFIX) and name not in NOT_KNOBS:
            try:
                knobs[name[len(PREFIX) :].lower()] = json.loads(text)
            except ValueError:
                knobs[name[len(PREFIX) :].lower()] = text
    return replace(Faults(), **checked(knobs, "environment"))  # type: ignore[arg-type]


def control_path(environ: Mapping[str, str]) -> Path | None:
    """Where this server looks for its control file."""
    if "STANDIN_CONTROL" in environ:
        return Path(environ["STANDIN_CONTROL"])
    root = environ.get("VLLM_CACHE_ROOT")
    return Path(root) / "standin.json" if root else None


class Knobs:
    """The faults in force now; the control file is read again whenever it changes."""

    def __init__(self, arguments: Mapping[str, object]) -> None:
        self._base = from_environment(os.environ)
        self._path = control_path(os.environ)
        self._arguments = arguments
        self._seen: tuple[int, int] | None = None
        self._now = self._base

    def __call__(self) -> Faults:
        """Raises FaultError when the control file is wrong."""
        seen = self._stamp()
        if seen != self._seen:
            self._now = self._read() if seen else self._base
            self._seen = seen
        return self._now

    def _stamp(self) -> tuple[int, int] | None:
        try:
            status = self._path.stat() if self._path else None
        except FileNotFoundError:
            return None
        return (status.st_mtime_ns, status.st_ino) if status else None

    def _read(self) -> Faults:
        assert self._path is not None
        try:
            knobs = json.loads(self._path.read_text())
        except ValueError as error:
            raise FaultError(f"{self._path}: not JSON: {error}") from None
        if not isinstance(knobs, dict):
            raise FaultError(f"{self._path}: found {type(knobs).__name__}, wanted an object")
        only = knobs.pop("only", {})
        if any(self._arguments.get(key) != value for key, value in only.items()):
            return self._base
        return replace(self._base, **checked(knobs, str(self._path)))  # type: ignore[arg-type]
