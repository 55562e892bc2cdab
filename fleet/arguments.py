"""vLLM arguments and environment as a person may write them.

The names are vLLM's own long ones. What ``vllm serve --config`` would drop, guess at, or take for
another argument cannot be written (vllm/utils/argparse_utils.py, ``load_config_file``).
"""

from __future__ import annotations

import math
import re
from typing import Annotated, Any

from pydantic import AfterValidator

from fleet.flags import GONE, GONE_ENV, OWNED, OWNED_ENV
from fleet.problems import is_secret, shown

_NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
_ENV_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}")
_ENV_SECRET = re.compile(r"(^|_)(TOKEN|KEY|SECRET|PASSWORD|PASSWD|PASS|CREDENTIALS?)$", re.I)
_NO_SECRET = "allowed: no secret, which every user of the host could read"
_DEPTH = 8  # levels of a nested argument such as compilation-config
_LENGTH = 4096  # characters of one text value
_LARGEST = 2**63  # no count of anything is larger


def argument_name(name: str) -> str:
    """``name`` if it is a long vLLM argument that is the user's to set."""
    if name in OWNED:
        raise ValueError(f"allowed: any argument this tool does not own; {OWNED[name]}")
    if name in GONE:
        raise ValueError(f"which vLLM no longer has; instead: {GONE[name]}")
    if not _NAME.fullmatch(name):
        raise ValueError(_better_name(name))
    return name


def _better_name(name: str) -> str:
    plain = name.lstrip("-").replace("_", "-").partition(".")[0].lower()
    if "." in name and _NAME.fullmatch(plain):
        return f"allowed: a nested mapping under '{plain}'"
    hint = f"; did you mean '{plain}'?" if _NAME.fullmatch(plain) and 2 < len(plain) < 80 else ""
    return f"allowed: vLLM's long name, lower case, with dashes{hint}"


def argument_value(value: Any) -> Any:
    """``value`` if ``vllm serve --config`` passes it on unchanged."""
    if value is None:
        raise ValueError("allowed: a value; leave the key out for vLLM's default")
    if isinstance(value, dict):
        _check_nested(value, _DEPTH)
    elif isinstance(value, list):
        _check_list(value)
    else:
        _check_scalar(value)
        if isinstance(value, str) and (not value or value.startswith("-")):
            raise ValueError("allowed: text that is not empty and begins with no dash")
    return value


def override_value(value: Any) -> Any:
    """As ``argument_value``; None takes the mode's argument out."""
    return None if value is None else argument_value(value)


def _check_list(values: list[Any]) -> None:
    """vLLM writes the items of a list with Python's ``str``; an empty one is dropped in silence."""
    if not values:
        raise ValueError("allowed: a list that is not empty (vLLM drops an empty one in silence)")
    for value in values:
        if isinstance(value, dict | list | bool) or value is None:
            raise ValueError("allowed: a list of numbers or text")
        argument_value(value)


def _check_nested(value: Any, depth: int) -> None:
    """A mapping becomes JSON, so all of JSON may be inside."""
    if depth == 0:
        raise ValueError(f"allowed: at most {_DEPTH} levels")
    if isinstance(value, dict):
        for key, inner in value.items():
            if not isinstance(key, str):
                raise ValueError(f"allowed: text as keys, not {shown(key)}")
            _check_scalar(key)
            _check_nested(inner, depth - 1)
    elif isinstance(value, list):
        for inner in value:
            _check_nested(inner, depth - 1)
    elif value is not None:
        _check_scalar(value)


def _check_scalar(value: Any) -> None:
    if isinstance(value, str):
        if not value.isprintable() or len(value) > _LENGTH:
            raise ValueError(f"allowed: one line of at most {_LENGTH} printable characters")
        if is_secret(value):
            raise ValueError(_NO_SECRET)
    elif isinstance(value, float) and not math.isfinite(value):
        raise ValueError("allowed: a finite number")
    elif isinstance(value, int) and abs(value) > _LARGEST:
        raise ValueError("allowed: a number below 2^63")
    elif not isinstance(value, bool | int | float):
        raise ValueError("allowed: text, a number, true, false, a list or a mapping")


def environment_name(name: str) -> str:
    """``name`` if it is an environment variable that is the user's to set."""
    if name in OWNED_ENV:
        raise ValueError(f"allowed: any variable this tool does not own; {OWNED_ENV[name]}")
    if name in GONE_ENV:
        raise ValueError(f"which vLLM does not know; instead: {GONE_ENV[name]}")
    if _ENV_SECRET.search(name):
        raise ValueError("allowed: no secrets; hf_token_file names the file that holds a token")
    if not _ENV_NAME.fullmatch(name):
        raise ValueError("allowed: letters, digits and underscores, no digit first")
    return name


def environment_value(value: str) -> str:
    """``value`` if it fits on one line of an env file that is read as it stands."""
    if not value.isprintable() or value != value.strip() or len(value) > _LENGTH:
        raise ValueError(f"allowed: one line of at most {_LENGTH} printable characters")
    if is_secret(value):
        raise ValueError(_NO_SECRET)
    return value


def environment_override(value: str | None) -> str | None:
    """As ``environment_value``; None takes the mode's variable out."""
    return None if value is None else environment_value(value)


Arguments = dict[
    Annotated[str, AfterValidator(argument_name)], Annotated[Any, AfterValidator(argument_value)]
]
ArgumentOverrides = dict[
    Annotated[str, AfterValidator(argument_name)], Annotated[Any, AfterValidator(override_value)]
]
Environment = dict[
    Annotated[str, AfterValidator(environment_name)],
    Annotated[str, AfterValidator(environment_value)],
]
EnvironmentOverrides = dict[
    Annotated[str, AfterValidator(environment_name)],
    Annotated[str | None, AfterValidator(environment_override)],
]
