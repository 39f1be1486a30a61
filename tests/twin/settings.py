"""The feature settings of section 7, with their defaults, in seconds as the user writes them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from itertools import pairwise
from typing import Any


def milliseconds(seconds: float) -> int:
    """Seconds as whole milliseconds; section 7 allows nothing finer, so rounding only undoes the double."""
    return round(seconds * 1000)


def label(number: float) -> str:
    """The shortest decimal, as column names use it (section 7): 1.0 -> "1", 0.5 -> "0.5"."""
    return format(Decimal(repr(float(number))).normalize(), "f")


@dataclass(frozen=True)
class Settings:
    """Section 7. Times in seconds, bands in basis points, `tight_spread_threshold` as a fraction of mid."""

    horizons: tuple[float, ...] = (1, 5, 30, 60)
    bar_durations: tuple[float, ...] = (1, 5, 30, 60)
    hf_emit_interval: float = 1.0
    bands_bps: tuple[float, ...] = (5, 10, 25, 50)
    max_levels: int = 10
    tight_spread_threshold: float = 0.0001
    regime_window: float = 30
    smart_depth_decay: float = 100
    gap_reset: float | None = None
    bar_grace: float = 0.5
    bar_idle_close: float | None = 10
    max_ahead: float = 60

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Settings:
        """A missing key has its default; an unknown one is a TypeError."""
        keys: dict[str, Any] = {
            key: tuple(value) if isinstance(value, list) else value for key, value in config.items()
        }
        return cls(**keys)

    @property
    def gap_reset_ms(self) -> int:
        """By default the longest horizon."""
        return milliseconds(max(self.horizons) if self.gap_reset is None else self.gap_reset)

    def bands(self) -> list[tuple[float, float, str]]:
        """(low, high, "low_high" label) of each band; the first begins at 0."""
        edges = (0.0, *self.bands_bps)
        return [(low, high, f"{label(low)}_{label(high)}") for low, high in pairwise(edges)]
