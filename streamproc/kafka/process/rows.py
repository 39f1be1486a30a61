"""Row words -> JSON records of the topics hf and bars."""

from collections.abc import Iterator, Sequence

import numpy as np
import orjson
from numpy.typing import NDArray

from streamproc.config import StateConfig
from streamproc.kafka.process.digits import powers_of_ten
from streamproc.kafka.process.write import Template, write_rows
from streamproc.schema import SYMBOL_WORD, Stream, columns, width

ROWS_AT_ONCE = 64
"""What is written of them stays in the cache until it is cut into records."""
PADDING = bytes(8)

Key = tuple[str, str]


class Heads(dict[Key, bytes]):
    """How the rows of each exchange and symbol begin, in JSON."""

    def __missing__(self, key: Key) -> bytes:
        exchange, symbol = map(orjson.dumps, key)
        head = self[key] = b'{"exchange":%s,"symbol":%s' % (exchange, symbol)
        return head


class RowEncoder:
    """Rows of one stream as JSON objects with the columns of `schema.columns`, null for null. For one thread."""

    def __init__(self, stream: Stream, config: StateConfig) -> None:
        self._template = Template.of(columns(stream, config))
        self._powers = powers_of_ten()
        self._heads = Heads()
        self._out = bytearray()
        self._encode(np.empty((0, width(stream, config)), np.int64), ())  # compiled before there is anything to do

    def encode(self, words: NDArray[np.int64], keys: Sequence[Key]) -> Iterator[bytes]:
        """Each of the rows (n, width); `keys` are exchange and symbol by symbol index."""
        for start in range(0, len(words), ROWS_AT_ONCE):
            yield from self._encode(words[start : start + ROWS_AT_ONCE], keys)

    def _encode(self, words: NDArray[np.int64], keys: Sequence[Key]) -> list[bytes]:
        heads = [self._heads[keys[symbol]] for symbol in words[:, SYMBOL_WORD].tolist()]
        head_ends = np.cumsum([len(head) for head in heads], dtype=np.int64)
        beginnings = np.frombuffer(b"".join([*heads, PADDING]), np.uint8)
        most = len(beginnings) + len(words) * self._template.longest
        if len(self._out) < most:
            self._out = bytearray(most)
        ends = np.empty(len(words), np.int64)
        out = np.frombuffer(self._out, np.uint8)
        write_rows(words, beginnings, head_ends, self._template, self._powers, out, ends)
        written, stops = memoryview(self._out), ends.tolist()
        return [bytes(written[start:stop]) for start, stop in zip([0, *stops], stops, strict=False)]
