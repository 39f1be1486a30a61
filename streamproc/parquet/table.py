"""Words of rows -> Arrow, without a Python object a row.

A row is 8-byte words (`streamproc.schema`). One kernel gathers rows into column-major buffers and notes nulls on the
way; Arrow takes the buffers as they are.
"""

from collections.abc import Collection, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from streamproc import schema
from streamproc.config import StateConfig
from streamproc.jit import kernel
from streamproc.schema import NULL_INT, SYMBOL_WORD, WORDS_BEFORE_COLUMNS, Stream

Words = npt.NDArray[np.int64]
Key = tuple[str, str]
"""Exchange and symbol."""

_DOUBLE, _INT, _BOOL = 0, 1, 2
_EXPONENT = 0x7FF0_0000_0000_0000
_KIND = {"double": _DOUBLE, "int": _INT, "time": _INT, "string": _INT, "bool": _BOOL}
_TILE = 8
"""Columns taken together: the words of one cache line."""
_BLOCK = 64
"""Rows taken together: the bits of one word of validity."""


@kernel
def _gather_columns(
    words: Words, order: Words, kinds: Words, values: Words, validity: Words, null_counts: Words
) -> None:
    """values[c, r] = words[order[r], 2 + c]; bit r of validity[c] tells whether it is there; the value of a null is 0.

    A bool column's values are bits too, at the start of its row of `values`.
    """
    null_counts[:] = 0
    for block in range(0, order.shape[0], _BLOCK):
        end = min(block + _BLOCK, order.shape[0])
        for tile in range(0, kinds.shape[0], _TILE):
            for column in range(tile, min(tile + _TILE, kinds.shape[0])):
                kind = kinds[column]
                valid = np.uint64(0)
                true = np.uint64(0)
                for row in range(block, end):
                    word = words[order[row], WORDS_BEFORE_COLUMNS + column]
                    null = (word & _EXPONENT) == _EXPONENT if kind == _DOUBLE else word == NULL_INT
                    bit = np.uint64(row - block)
                    valid |= np.uint64(not null) << bit
                    null_counts[column] += null
                    if kind == _BOOL:
                        true |= np.uint64(word == 1) << bit
                    else:
                        values[column, row] = 0 if null else word
                validity[column, block // _BLOCK] = np.int64(valid)
                if kind == _BOOL:
                    values[column, block // _BLOCK] = np.int64(true)


class ColumnBlock:
    """Column-major buffers for up to `capacity` rows of a stream, used again for every batch.

    Parameters
    ----------
    stream, config : what the rows are.
    capacity : most rows of a batch.
    without : columns that the batches do not have (the partition columns of a file).
    """

    def __init__(self, stream: Stream, config: StateConfig, capacity: int, without: Collection[str] = ()) -> None:
        listed = schema.columns(stream, config)
        self.schema: pa.Schema = pa.schema(
            [field for field in schema.arrow_schema(stream, config) if field.name not in without],
            metadata=schema.arrow_schema(stream, config).metadata,
        )
        self.capacity = capacity
        self._width = schema.width(stream, config)
        self._key = [position for position, column in enumerate(listed[:2]) if column.name not in without]
        self._columns = listed[2:]
        self._types = [pa.int64() if column.kind == "string" else column.arrow_type for column in self._columns]
        self._kinds = np.array([_KIND[column.kind] for column in self._columns])
        blocks = max(1, -(-capacity // _BLOCK))
        # An odd number of cache lines from column to column, so that columns do not compete for the same cache sets.
        self._values = np.empty((len(self._columns), blocks * _BLOCK + _TILE), np.int64)
        self._validity = np.empty((len(self._columns), blocks), np.int64)
        self._null_counts = np.empty(len(self._columns), np.int64)

    def batch(self, words: Words, order: Words, keys: Sequence[Key]) -> pa.RecordBatch:
        """Rows `words[order]` as a batch that is good until the next one: it lies in this block's buffers.

        `words` has the shape (n, width) of `streamproc.schema`; `keys` are exchange and symbol by symbol index.
        """
        if words.ndim != 2 or words.shape[1] != self._width or words.dtype != np.int64:
            raise ValueError(f"words must be int64 of shape (n, {self._width}), not {words.dtype} {words.shape}")
        if len(order) > self.capacity:
            raise ValueError(f"{len(order)} rows do not fit into a block of {self.capacity}")
        _gather_columns(words, order, self._kinds, self._values, self._validity, self._null_counts)
        arrays = self._key_arrays(words[order, SYMBOL_WORD], keys) + self._column_arrays(len(order))
        return pa.RecordBatch.from_arrays(arrays, schema=self.schema)

    def _key_arrays(self, symbols: Words, keys: Sequence[Key]) -> list[Any]:
        if not self._key:
            return []
        present, inverse = np.unique(symbols, return_inverse=True)
        return [
            pa.array([keys[i][part] for i in present.tolist()], pa.string()).take(pa.array(inverse))
            for part in self._key
        ]

    def _column_arrays(self, count: int) -> list[Any]:
        values, validity = pa.py_buffer(self._values), pa.py_buffer(self._validity)
        stride, validity_stride = self._values.strides[0], self._validity.strides[0]
        arrays = []
        for i, nulls in enumerate(self._null_counts.tolist()):
            bitmap = validity.slice(i * validity_stride, validity_stride) if nulls else None
            buffers = [bitmap, values.slice(i * stride, stride)]
            arrays.append(pa.Array.from_buffers(self._types[i], count, buffers, nulls))
        for i, column in enumerate(self._columns):
            if column.kind == "string":
                arrays[i] = pa.array(column.values, pa.string()).take(arrays[i])
        return arrays


def to_table(stream: Stream, config: StateConfig, words: Words, keys: Sequence[Key]) -> pa.Table:
    """Rows as a table with `schema.arrow_schema(stream, config)`.

    Parameters
    ----------
    words : shape (n, width), see `streamproc.schema`; a double that is not finite is null.
    keys : exchange and symbol by symbol index (word 0).
    """
    block = ColumnBlock(stream, config, len(words))
    return pa.Table.from_batches([block.batch(words, np.arange(len(words)), keys)])
