"""What the engine gives out: row words, counts and rejected lines, in arrays that kernels fill."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from streamproc.config import StateConfig
from streamproc.jit import StructArray
from streamproc.schema import BAR_WIDTH, RowBuffer, width

COUNTS = np.dtype(
    [
        ("hf", "i8"),  # rows in the buffers now
        ("bars", "i8"),
        ("rejected", "i8"),  # lines in the buffer of rejected ones now
        ("books", "i8"),  # since the start
        ("trades", "i8"),
        ("duplicates", "i8"),
        ("one_sided_books", "i8"),
        ("empty_books", "i8"),
        ("crossed_books", "i8"),
        ("late_events", "i8"),
        ("duplicate_trades", "i8"),
        ("bad_trades", "i8"),
    ]
)

REASONS = ("no_timestamp", "future", "late")
NO_TIMESTAMP, FUTURE, LATE = range(3)

REJECTED = np.dtype(
    [
        ("line", "i8"),
        ("start", "i8"),  # where the line lies in the data
        ("end", "i8"),
        ("reason", "i8"),
        ("t", "i8"),  # its event time
        ("limit", "i8"),  # what that was compared with
    ]
)


class Output(NamedTuple):
    """Row buffers, rejected lines, counts."""

    hf: RowBuffer
    bars: RowBuffer
    rejected: StructArray  # REJECTED
    counts: StructArray  # (1,) COUNTS


def empty_output(config: StateConfig) -> Output:
    """Buffers without room; `with_rows` makes it."""
    counts = np.zeros(1, COUNTS)
    hf, bars = (np.zeros((0, words), np.int64) for words in (width("hf", config), BAR_WIDTH))
    return Output(RowBuffer.of(hf, counts), RowBuffer.of(bars, counts), np.zeros(0, REJECTED), counts)


def _roomy(rows: NDArray[Any], used: int, needed: int) -> NDArray[Any]:
    if used + needed <= len(rows):
        return rows
    roomy = np.zeros((max(used + needed, 2 * len(rows)), *rows.shape[1:]), rows.dtype)
    roomy[:used] = rows[:used]
    return roomy


def with_rows(output: Output, hf: int, bars: int, rejected: int) -> Output:
    """Room for so many more rows and rejected lines."""
    used = output.counts[0]
    return Output(
        RowBuffer.of(_roomy(output.hf.ints, used["hf"], hf), output.counts),
        RowBuffer.of(_roomy(output.bars.ints, used["bars"], bars), output.counts),
        _roomy(output.rejected, used["rejected"], rejected),
        output.counts,
    )
