"""The order of rows: exchange, symbol, timestamp, duration, as far as a table has them; equal rows as they come."""

from typing import Any

import numpy as np
import pyarrow as pa

SORTED_BY = ("exchange", "symbol", "timestamp", "duration")


def sort_rows(rows: pa.Table) -> pa.Table:
    """Rows sorted by `SORTED_BY`, stable; those that come so are not copied."""
    keys = [_ranks(rows[name]) for name in SORTED_BY if name in rows.column_names]
    falls = np.zeros(max(0, len(rows) - 1), np.bool_)
    for key in reversed(keys):
        step = np.diff(key)
        falls = (step < 0) | ((step == 0) & falls)
    return rows.take(pa.array(np.lexsort(keys[::-1]))) if falls.any() else rows


def _ranks(column: pa.ChunkedArray) -> Any:
    """Numbers in the same order as the values."""
    if pa.types.is_string(column.type):
        encoded = column.combine_chunks().dictionary_encode()
        ranks = np.argsort(np.argsort(np.array(encoded.dictionary.to_pylist(), object)))
        return ranks[encoded.indices.to_numpy()]
    return column.cast(pa.int64()).to_numpy() if pa.types.is_timestamp(column.type) else column.to_numpy()
