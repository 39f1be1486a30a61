"""A record as the engine takes it, whichever parser made it: fixed arrays, filled anew for each line."""

from typing import NamedTuple

import numpy as np

from streamproc.jit import Doubles, StructArray

ABSENT_TIME = -1
"""An event or receive time that is not there; real ones lie in (0, MAX_TIME)."""

MAX_TIME = 4_102_444_800_000
"""Times from 2100-01-01 on are taken for nonsense."""

BOOK, TRADES = 0, 1
OTHER_SIDE, BUY, SELL = 0, 1, 2

ENVELOPE = np.dtype(
    [
        ("kind", "i8"),  # BOOK or TRADES
        ("type", "i8"),  # what its `type` says, while it is scanned
        ("timestamp", "i8"),  # of a book's data, ms
        ("collected_at", "i8"),  # ms
        ("nonce", "i8"),  # NULL_INT when there is none
        ("flags", "i8"),  # UNSORTED or 0
        ("bids", "i8"),  # levels
        ("asks", "i8"),
        ("trades", "i8"),
        ("exchange_start", "i8"),  # where in the bytes the names lie
        ("exchange_size", "i8"),
        ("symbol_start", "i8"),
        ("symbol_size", "i8"),
    ]
)

TRADE_MESSAGE = np.dtype(
    [
        ("timestamp", "i8"),  # ms
        ("price", "f8"),  # NaN when it is no number
        ("amount", "f8"),
        ("side", "i8"),
        ("id_low", "i8"),  # the id's key, see `state.trade_ids`; both 0: not compared
        ("id_high", "i8"),
    ]
)


class Record(NamedTuple):
    """Scratch of one record. `bids` and `asks` are (levels, 2): price and size, cleaned, best first."""

    envelope: StructArray  # (1,) ENVELOPE
    bids: Doubles
    asks: Doubles
    trades: StructArray  # TRADE_MESSAGE, as they came

    @classmethod
    def empty(cls, levels: int, trades: int) -> "Record":
        """Room for `levels` a side and `trades` a message."""
        sides = np.zeros((levels, 2)), np.zeros((levels, 2))
        return cls(np.zeros(1, ENVELOPE), *sides, np.zeros(trades, TRADE_MESSAGE))
