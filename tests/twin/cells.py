"""A row in the making: values by column name, each with the size of the terms it was made of."""

from __future__ import annotations

import math
from typing import Any


class Cells:
    """Values of one row, and for signed sums and differences the Σ|terms| that their accuracy is judged by."""

    def __init__(self) -> None:
        self.values: dict[str, Any] = {}
        self.scale: dict[str, float] = {}

    def put(self, column: str, value: Any, scale: float | None = None) -> None:
        """Sets a column once; a result that is not finite is null (section 8)."""
        if column in self.values:
            raise KeyError(f"{column} is set twice")
        self.values[column] = finite(value) if isinstance(value, float) else value
        if scale is not None:
            self.scale[column] = scale

    def row(self) -> dict[str, Any]:
        """The columns, and beside them `_scale`."""
        return {**self.values, "_scale": self.scale}


def finite(value: float | None) -> float | None:
    """The value, or None where it is not finite."""
    return value if value is not None and math.isfinite(value) else None


def ratio(numerator: float, denominator: float) -> float | None:
    """Their quotient; null where it has none, or the denominator is beyond double: 0 would be no value but a lie."""
    return numerator / denominator if denominator != 0 and math.isfinite(denominator) else None


def imbalance(bid: float, ask: float) -> float | None:
    """(bid - ask)/(bid + ask); null when both are 0."""
    return ratio(bid - ask, bid + ask)
