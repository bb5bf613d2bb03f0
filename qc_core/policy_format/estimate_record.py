"""A measured value with its interval, as documents store it."""

from __future__ import annotations

from qc_core.documents import Document


class EstimateRecord(Document, frozen=True, kw_only=True):
    """A value with its 95% interval."""

    value: float
    low: float
    high: float
