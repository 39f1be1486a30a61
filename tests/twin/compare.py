"""The accuracy of section 4: how near a row of the engine must be to the twin's."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

RELATIVE = 1e-9
RELATIVE_OF_SQUARES = 1e-8
OF_TERMS = 1e-12
OF_RETURNS = 1e-15


def tolerance(column: str, expected: float, scale: Mapping[str, float]) -> float:
    """The greatest difference allowed.

    1e-9 relative (sums of squares 1e-8), or 1e-12 of Σ|terms| for signed sums and of mid for differences of prices
    (`scale` holds these), or 1e-15 for returns and their deviation.
    """
    squares = column.startswith("realized_var")  # realized_var_{h}s and realized_variance
    relative = (RELATIVE_OF_SQUARES if squares else RELATIVE) * abs(expected)
    absolute = OF_TERMS * scale.get(column, 0.0)
    if column.startswith(("log_return", "realized_vol_")):
        absolute = OF_RETURNS
    return max(relative, absolute)


def compare_rows(actual: Mapping[str, Any], expected: Mapping[str, Any], scale: Mapping[str, float]) -> list[str]:
    """What differs, one line a column; doubles by `tolerance`, all else exactly, type and null included.

    `scale` is the twin row's own `_scale`; that key is no column.
    """
    names = [name for name in expected if name != "_scale"]
    faults = [f"{name}: missing" for name in names if name not in actual]
    faults += [f"{name}: not a column" for name in actual if name not in expected and name != "_scale"]
    for name in names:
        if name in actual and not agrees(name, actual[name], expected[name], scale):
            faults.append(f"{name}: {actual[name]!r}, expected {expected[name]!r}")
    return faults


def agrees(column: str, actual: Any, expected: Any, scale: Mapping[str, float]) -> bool:
    """Whether one value is what it should be. Of terms whose sum is beyond double no accuracy is promised."""
    if not math.isfinite(scale.get(column) or 0.0):
        return actual is None or (isinstance(actual, float) and math.isfinite(actual))
    if isinstance(expected, float) and isinstance(actual, float):
        return math.isfinite(actual) and abs(actual - expected) <= tolerance(column, expected, scale)
    return type(actual) is type(expected) and bool(actual == expected)


def row_key(row: Mapping[str, Any]) -> tuple[Any, ...]:
    """What rows are sorted by in files: symbol, time, duration."""
    return row["exchange"], row["symbol"], row["timestamp"], row.get("duration", 0.0)


def compare_streams(actual: Iterable[Mapping[str, Any]], expected: Iterable[Mapping[str, Any]]) -> list[str]:
    """Compares rows pairwise, sorted as files are; rows of one time keep their order. Each fault names its row."""
    ours, twins = sorted(actual, key=row_key), sorted(expected, key=row_key)
    faults = [] if len(ours) == len(twins) else [count_fault(ours, twins)]
    for our, twin in zip(ours, twins, strict=False):
        faults += [f"{row_key(twin)}: {fault}" for fault in compare_rows(our, twin, twin.get("_scale", {}))]
    return faults


def count_fault(ours: Sequence[Mapping[str, Any]], twins: Sequence[Mapping[str, Any]]) -> str:
    """How many rows there are and should be, and the first place where they part."""
    pairs = zip(map(row_key, ours), map(row_key, twins), strict=False)
    parting = next((f"{our} against {twin}" for our, twin in pairs if our != twin), "the end of the shorter")
    return f"{len(ours)} rows, expected {len(twins)}; they part at {parting}"
