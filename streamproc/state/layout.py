"""The arrays that hold the states of all symbols, and how they grow.

One row a symbol in the tables, pages of fixed length in pools shared by all symbols. The dtypes here are the one
declaration that kernels, snapshots and tests share.
"""

from typing import Any, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from streamproc.config import StateConfig
from streamproc.jit import Bytes, Doubles, Ints, StructArray
from streamproc.schema import NULL_INT

PAGE = 32
"""Elements of a page; also pages of a run, and runs of a long run."""

LEVELS = 3
"""Aggregates reach over a page, a run of 32 pages, a long run of 32 runs."""

NONE = -1
"""No page, no slot, no bar, no time."""

IDS = 1024
"""Trade ids remembered a symbol."""

CHAINS = 512
"""Hash chains over them."""

RING = [
    ("head", "i8"),  # sequence number of the next element
    ("block", "i8"),  # number of the first live page: its elements are block * PAGE and on
    ("first", "i8"),  # the first live page
    ("last", "i8"),  # the page being filled
    ("run", "i8"),  # first page of the run being filled
    ("long_run", "i8"),  # first page of the long run being filled
]

HEAD = np.dtype(
    [
        ("last_t", "i8"),  # event time of the last accepted book
        ("last_nonce", "i8"),  # its nonce
        ("stream_t", "i8"),  # largest event time of accepted books and trades
        ("valid_t", "i8"),  # event time of the last valid book
        ("first_t", "i8"),  # that of the first valid book since start or gap
        ("segment", "i8"),  # its place in the ring of books
        ("bid", "f8"),  # best levels of the last valid book
        ("bid_size", "f8"),
        ("ask", "f8"),
        ("ask_size", "f8"),
        ("tight", "i8"),  # its `tight`, as in BOOK_POINT
        ("bucket", "i8"),  # emission bucket of the last row
        ("updates", "i8"),  # valid books since the last row
        ("invalid", "i8"),  # invalid books since the last row
        ("trade_t", "i8"),  # largest time of accepted trades
        ("traded", "i8"),  # whether a trade was ever accepted
        ("pages_at_book", "i8"),  # live pages of trades at the last valid book
        ("accepted", "i8"),  # whether any record was
        ("generation", "i8"),
        ("books", RING),
        ("trades", RING),
        ("ids", RING),
    ]
)

BAR = np.dtype(
    [
        ("index", "i8"),  # start / duration; NONE: not open
        ("open", "f8"),
        ("high", "f8"),
        ("low", "f8"),
        ("close", "f8"),
        ("volume", "f8"),
        ("buy_volume", "f8"),
        ("sell_volume", "f8"),
        ("notional", "f8"),
        ("trades", "i8"),
        ("spread_sum", "f8"),
        ("spread_min", "f8"),
        ("spread_max", "f8"),
        ("relative_sum", "f8"),
        ("imbalance_sum", "f8"),
        ("ofi_sum", "f8"),
        ("ofi_count", "i8"),
        ("rr_sum", "f8"),
        ("rr_count", "i8"),
        ("count", "i8"),
        ("invalid", "i8"),
        ("last_t", "i8"),  # event time of its last valid book
        ("max_gap", "i8"),
    ]
)

CLOSE = np.dtype(
    [
        ("flushed", "i8"),  # bars that end here or before are closed by a flush
        ("late", "i8"),  # events in closed bars since the last written bar
    ]
)

BOOK_POINT = np.dtype(
    [
        ("t", "i8"),  # event time of a valid book
        ("mid", "f8"),
        ("r", "f8"),  # log return, NaN when null
        ("e", "f8"),  # order-flow imbalance, NaN when null
        ("tight", "i8"),  # 2 * (ms spent in tight since start or gap) + (1 when tight from here on)
    ]
)

BOOK_SUMS = np.dtype(
    [
        ("n", "i8"),  # returns that are not null
        ("r", "f8"),
        ("rr", "f8"),
        ("mean", "f8"),
        ("deviation", "f8"),  # squares about the mean
        ("ofi_n", "i8"),
        ("ofi", "f8"),
    ]
)

TRADE_POINT = np.dtype(
    [
        ("t", "i8"),  # time, made non-decreasing
        ("amount", "f8"),
        ("side", "i8"),
    ]
)

TRADE_SUMS = np.dtype([("volume", "f8"), ("buy", "f8"), ("sell", "f8")])

ID_POINT = np.dtype([("low", "i8"), ("high", "i8")])  # a trade id's key, see `parse.scan.id_key`

CURSOR = np.dtype(
    [
        ("seq", "i8"),  # first element in the window
        ("page", "i8"),  # the page it lies in
        ("before", "i8"),  # whether an element before the window is known; its fields:
        ("t", "i8"),
        ("mid", "f8"),
        ("tight", "i8"),
    ]
)

TRADE_CURSOR = np.dtype(
    [
        ("seq", "i8"),  # first trade in the window
        ("page", "i8"),  # the page it lies in; at the end of the ring, the page before that may not exist yet
        ("at_end", "i8"),  # whether there was no such trade yet
    ]
)

ARRIVED, CHANGED = 1, 2
"""Bits of `Arrays.dirty`: a record came since the idle clock looked; state changed since the last snapshot."""

LINKS = 1 + (LEVELS - 1)
"""Links of a page: to the next one, past the run it begins, past the long run it begins."""

HEAD_EMPTY: dict[str, int] = {
    name: NONE for name in ("last_t", "stream_t", "valid_t", "first_t", "bucket", "trade_t")
} | {"last_nonce": NULL_INT}
RING_EMPTY = {name: NONE for name in ("first", "last", "run", "long_run")}

FREE, LEFT = range(2)
"""Places in `Pool.free`: the first free page, how many are left."""


class Params(NamedTuple):
    """A `StateConfig` as kernels take it; all spans in ms."""

    emit: int
    gap: int
    grace: int
    ahead: int
    idle: int  # NONE: never
    regime: int
    longest: int
    tight_threshold: float
    decay: float
    levels: int
    horizons: Ints
    durations: Ints
    bands: Doubles

    @classmethod
    def of(cls, config: StateConfig) -> "Params":
        """The numbers of a configuration."""
        idle = config.bar_idle_close_ms
        return cls(
            config.hf_emit_interval_ms,
            config.gap_reset_ms,
            config.bar_grace_ms,
            config.max_ahead_ms,
            NONE if idle is None else idle,
            config.regime_window_ms,
            max(config.regime_window_ms, config.horizons_ms[-1]),
            float(config.tight_spread_threshold),
            float(config.smart_depth_decay),
            config.max_levels,
            np.array(config.horizons_ms, np.int64),
            np.array(config.bar_durations_ms, np.int64),
            np.array(config.bands_bps, np.float64),
        )


class Pool(NamedTuple):
    """P pages of one kind for the rings of all symbols."""

    points: StructArray  # (P, PAGE) BOOK_POINT or TRADE_POINT
    sums: StructArray  # (P, LEVELS) BOOK_SUMS or TRADE_SUMS
    links: Ints  # (P, LINKS)
    free: Ints  # (2,) FREE, LEFT


class IdPool(NamedTuple):
    """P pages of trade ids, in hash chains. A chain's link is page * PAGE + place + 1, or 0 at its end."""

    points: StructArray  # (P, PAGE) ID_POINT
    nexts: NDArray[np.int32]  # (P, PAGE): links to the next id of the chain
    links: Ints  # (P, LINKS)
    free: Ints  # (2,) FREE, LEFT


class Arrays(NamedTuple):
    """Everything a kernel can reach of the state. S symbols, D durations, H horizons."""

    head: StructArray  # (S,) HEAD
    bars: StructArray  # (S, D, 2) BAR
    closes: StructArray  # (S, D) CLOSE
    cursors: StructArray  # (S, H + 1) CURSOR: one a horizon, and the regime's
    trade_cursors: StructArray  # (S, H + 1) TRADE_CURSOR: one a horizon, and the end of what t has reached
    chains: NDArray[np.int32]  # (S, CHAINS): links to the first id of each chain
    dirty: Bytes  # (S,) ARRIVED, CHANGED
    books: Pool
    trades: Pool
    ids: IdPool


def empty_arrays(config: StateConfig) -> Arrays:
    """No symbols, no pages."""
    durations, windows = len(config.bar_durations), len(config.horizons) + 1
    return Arrays(
        np.zeros(0, HEAD),
        np.zeros((0, durations, 2), BAR),
        np.zeros((0, durations), CLOSE),
        np.zeros((0, windows), CURSOR),
        np.zeros((0, windows), TRADE_CURSOR),
        np.zeros((0, CHAINS), np.int32),
        np.zeros(0, np.uint8),
        Pool(np.zeros((0, PAGE), BOOK_POINT), np.zeros((0, LEVELS), BOOK_SUMS), *_no_pages()),
        Pool(np.zeros((0, PAGE), TRADE_POINT), np.zeros((0, LEVELS), TRADE_SUMS), *_no_pages()),
        IdPool(np.zeros((0, PAGE), ID_POINT), np.zeros((0, PAGE), np.int32), *_no_pages()),
    )


def _no_pages() -> tuple[Ints, Ints]:
    return np.zeros((0, LINKS), np.int64), np.array([NONE, 0])


def _lengthened(array: NDArray[Any], length: int) -> NDArray[Any]:
    # Zeroed by the operating system when touched, so what is not used yet costs no memory, and doubling is cheap.
    longer = np.zeros((length, *array.shape[1:]), array.dtype)
    longer[: len(array)] = array
    return longer


def _doubled(length: int, needed: int) -> int:
    return max(needed, 2 * length, 16)


def with_symbols(arrays: Arrays, needed: int) -> Arrays:
    """Room for at least `needed` symbols; new rows are empty states."""
    before = len(arrays.head)
    if needed <= before:
        return arrays
    length = _doubled(before, needed)
    names = ("head", "bars", "closes", "cursors", "trade_cursors", "chains", "dirty")
    tables = {name: _lengthened(getattr(arrays, name), length) for name in names}
    for name, value in HEAD_EMPTY.items():
        tables["head"][name][before:] = value
    for ring in ("books", "trades", "ids"):
        for name, value in RING_EMPTY.items():
            tables["head"][ring][name][before:] = value
    tables["bars"]["index"][before:] = NONE
    tables["cursors"]["seq"][before:] = NONE
    tables["trade_cursors"]["seq"][before:] = NONE
    return Arrays(**tables, books=arrays.books, trades=arrays.trades, ids=arrays.ids)


P = TypeVar("P", Pool, IdPool)


def with_pages(pool: P, needed: int) -> P:
    """At least `needed` free pages."""
    if pool.free[LEFT] >= needed:
        return pool
    before = len(pool.links)
    length = _doubled(before, before + needed)
    paged = [name for name in pool._fields if name != "free"]
    longer = pool._replace(**{name: _lengthened(getattr(pool, name), length) for name in paged})
    # New pages form the free list's front; link 0 of a free page is the next free one.
    longer.links[before:length, 0] = np.arange(before + 1, length + 1)
    longer.links[length - 1, 0] = pool.free[FREE]
    pool.free[FREE] = before
    pool.free[LEFT] += length - before
    return longer
