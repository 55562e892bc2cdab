"""Options of a single run, given with --data; not part of what a host is declared to be."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, ConfigDict, Field

from fleet.strict import Strict


def _one_line(value: str) -> str:
    if not value.strip() or not value.isprintable() or len(value) > 200:
        raise ValueError("allowed: one line of at most 200 printable characters")
    return value


class RunOptions(Strict):
    """What one run is asked to do besides its main work."""

    model_config = ConfigDict(populate_by_name=True)

    json_output: bool = Field(
        default=False, alias="json", description="status.py: JSON on standard output, no table"
    )
    logs: int = Field(
        default=0, ge=0, le=1000, description="status.py: the last so many log lines of each host"
    )
    reason: Annotated[str, AfterValidator(_one_line)] | None = Field(
        default=None, description="Why this change is made; kept in the hosts' audit log"
    )
    deep_check: bool = Field(
        default=False,
        description="deploy.py, switch.py, download.py: read every file of the model again, also "
        "those found good before",
    )
    cancel: bool = Field(
        default=False, description="download.py: stop the downloads that run on the hosts"
    )
    key_overlap: bool = Field(
        default=False,
        description="rotate_key.py: the old API key is accepted as well until the next rotation",
    )
    bench_offline: bool = Field(
        default=False,
        description="benchmark.py: then also vLLM's offline throughput and latency, for which each "
        "host stops serving in its wave",
    )
    remove_weights: bool = Field(
        default=False,
        description="remove.py: also the models that were fetched, which may take days to refill; "
        "not those of a shared cache",
    )
    remove_images: bool = Field(
        default=False, description="remove.py: also the images that the host's releases name"
    )


def keys() -> frozenset[str]:
    """The names of the options, as a person writes them."""
    return frozenset(field.alias or name for name, field in RunOptions.model_fields.items())
