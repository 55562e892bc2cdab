"""Values of settings that end in files and commands on a host: what each may be made of."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable
from typing import Annotated

from pydantic import AfterValidator, Field


def matching(pattern: str, allowed: str) -> Callable[[str], str]:
    """A validator: the whole text fits ``pattern`` (ASCII, no line break anywhere)."""
    known = re.compile(pattern, re.ASCII)

    def check(value: str) -> str:
        if not known.fullmatch(value):
            raise ValueError(f"allowed: {allowed}")
        return value

    return check


def unscoped(address: str) -> str:
    """``address``, or ValueError where it names an IPv6 scope: Python takes any text for one, line
    breaks included."""
    if "%" in address:
        raise ValueError("allowed: an address without a scope, which begins at '%'; leave it out")
    return address


def _line(value: str) -> str:
    if not value.strip() or not value.isprintable() or len(value) > 1024:
        raise ValueError("allowed: one line of at most 1024 printable characters")
    return value


def _fingerprint(value: str) -> str:
    found = value.replace(" ", "").upper()
    if not re.fullmatch(r"[0-9A-F]{40}", found):
        raise ValueError("allowed: a key's fingerprint, 40 hexadecimal digits")
    return found


def _network(value: str) -> str:
    unscoped(value)
    try:
        return str(ipaddress.ip_network(value))
    except ValueError as error:
        raise ValueError(
            f"allowed: an address or a network such as 192.0.2.0/24 ({str(error)[:120]})"
        ) from None


def _clocks(value: tuple[int, int]) -> tuple[int, int]:
    if not 0 < value[0] <= value[1]:
        raise ValueError("allowed: two clocks in MHz, the lower one first, such as [300, 2200]")
    return value


# GRUB's files are read by a shell, as root.
_parameter = matching(
    r"[A-Za-z0-9_.-]+(=[A-Za-z0-9_.,:/@+=%-]*)?",
    "a word of the kernel's command line, NAME or NAME=VALUE, without quotes and blanks",
)
_package = matching(r"[a-z0-9][a-z0-9+.-]{1,99}", "a Debian package's name")
_sysctl = matching(
    r"[A-Za-z0-9_*-]+([./][A-Za-z0-9_*-]+)+", "a sysctl's name, such as vm.swappiness"
)
_sysctl_value = matching(
    r"[A-Za-z0-9._:/,+-]+( +[A-Za-z0-9._:/,+-]+)*", "numbers and words, separated by blanks"
)
_argument = matching(r"[A-Za-z_][A-Za-z0-9_]{0,99}", "letters, digits and underscores")

Branch = Annotated[str, AfterValidator(matching(r"[0-9]{3}", "three digits, such as 580"))]
Size = Annotated[str, AfterValidator(matching(r"[1-9][0-9]*[KMGT]", "a size such as 2G or 500M"))]
Clocks = Annotated[tuple[int, int], AfterValidator(_clocks)]
Networks = Annotated[tuple[Annotated[str, AfterValidator(_network)], ...], Field(strict=False)]
Line = Annotated[str, AfterValidator(_line)]
Fingerprint = Annotated[str, AfterValidator(_fingerprint)]
KernelParameters = Annotated[
    tuple[Annotated[str, AfterValidator(_parameter)], ...], Field(strict=False)
]
Packages = Annotated[tuple[Annotated[str, AfterValidator(_package)], ...], Field(strict=False)]
Sysctls = dict[
    Annotated[str, AfterValidator(_sysctl)], Annotated[str, AfterValidator(_sysctl_value)]
]
BuildArguments = dict[Annotated[str, AfterValidator(_argument)], Line]
