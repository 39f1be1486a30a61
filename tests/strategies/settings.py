"""Random valid configurations."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random
from typing import Any

from hypothesis import strategies as st


def choose_config(choose: Callable[[Sequence[Any]], Any]) -> dict[str, Any]:
    """A valid configuration; `choose` picks one of the values it is given. Bars of idle symbols never close."""
    durations = choose([[1], [0.5], [0.1, 0.5], [0.25, 2], [1, 5], [0.5, 1, 2, 10]])
    config = {
        "horizons": choose([[1], [0.5], [0.1, 2], [0.5, 2, 5], [0.001, 1], [1, 5, 30, 60]]),
        "bar_durations": durations,
        "hf_emit_interval": choose([0, 0.1, 0.5, 1, 0.3, 2]),
        "bands_bps": choose([[5, 10, 25, 50], [5], [2.5, 20], [1.5, 3, 6, 12], [10, 5000]]),
        "max_levels": choose([3, 1, 2, 5, 8, 12]),
        "tight_spread_threshold": choose([0.0001, 0.0002, 0.0005, 0.01]),
        "regime_window": choose([2, 0.1, 0.5, 1, 30]),
        "smart_depth_decay": choose([100, 1, 1000]),
        "gap_reset": choose([5, 0.1, 0.5, 1, 2, None]),
        "bar_grace": choose([grace for grace in (0.05, 0.001, 0.1, 0.25, 0.5, 1) if grace <= durations[0]]),
        "bar_idle_close": None,
        "max_ahead": choose([60, 0.5, 1]),
    }
    if config["gap_reset"] is None:
        del config["gap_reset"]  # the default: the longest horizon
    return config


def random_config(seed: int) -> dict[str, Any]:
    """A valid configuration, the same for the same seed."""
    return choose_config(Random(seed).choice)


@st.composite
def configs(draw: st.DrawFn) -> dict[str, Any]:
    """Valid configurations."""
    return choose_config(lambda values: draw(st.sampled_from(values)))
