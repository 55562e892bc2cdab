"""The base of everything a person writes: unknown keys, wrong types, later changes are errors."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Strict(BaseModel):
    """Frozen, strict, and closed: a typo never passes in silence."""

    # Most are parts of others and never built by themselves.
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, defer_build=True)
