"""Where the episodes of a data set came from, as data sets, checkpoints and policies record it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def sources_in(source: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The sources of which a data set was joined, or its only one, each with its digest."""
    return source.get("sources") or [source]
