"""Windows (t - h, t] over the rings: where they begin, and the sums over them.

A window is read from whole long runs, runs and pages, and the elements of its first and last page: a hundred or so sums
for any length. Nothing is kept between reads but where the window began, so a statistic is a function of the window's
own elements and their places in the ring: no batch, restart or earlier read can reach it.
"""

from typing import NamedTuple

import numpy as np

from streamproc.jit import Struct, StructArray, part
from streamproc.state.layout import BOOK_SUMS, NONE, PAGE, TRADE_SUMS, Pool
from streamproc.state.pages import (
    RUN,
    add_book_points,
    add_book_sums,
    add_deviation,
    add_point_deviations,
    add_trade_points,
    add_trade_sums,
    clear_book_sums,
    clear_trade_sums,
    set_mean,
)

LONG_RUN = PAGE * RUN


class Scratch(NamedTuple):
    """Sums of a window."""

    books: StructArray  # (1,) BOOK_SUMS
    trades: StructArray  # (1,) TRADE_SUMS

    @classmethod
    def empty(cls) -> "Scratch":
        """Room for both."""
        return cls(np.zeros(1, BOOK_SUMS), np.zeros(1, TRADE_SUMS))


@part
def move_cursor(pool: Pool, head: Struct, cursor: Struct, edge: int) -> None:
    """Move a cursor to the first element of the segment later than `edge` ms, noting the element before it."""
    ring = head.books
    begin = max(head.segment, ring.block * PAGE)
    if cursor.seq < begin:
        cursor.seq = begin
        cursor.page = ring.first
        cursor.before = 0
    while cursor.seq < ring.head:
        point = pool.points[cursor.page, cursor.seq % PAGE]
        if point.t > edge:
            break
        cursor.before = 1
        cursor.t = point.t
        cursor.mid = point.mid
        cursor.tight = point.tight
        cursor.seq += 1
        if cursor.seq % PAGE == 0:
            cursor.page = pool.links[cursor.page, 0]


@part
def move_trade_cursor(pool: Pool, head: Struct, cursor: Struct, edge: int) -> None:
    """Move a cursor to the first trade later than `edge` ms."""
    ring = head.trades
    begin = ring.block * PAGE
    if cursor.seq <= begin:
        cursor.seq = begin
        cursor.page = ring.first
    elif cursor.at_end and cursor.seq < ring.head and cursor.seq % PAGE == 0:
        cursor.page = pool.links[cursor.page, 0]
    while cursor.seq < ring.head and pool.points[cursor.page, cursor.seq % PAGE].t <= edge:
        cursor.seq += 1
        if cursor.seq % PAGE == 0 and cursor.seq < ring.head:
            cursor.page = pool.links[cursor.page, 0]
    cursor.at_end = cursor.seq == ring.head


@part
def whole(seq: int, stop: int) -> int:
    """What of [seq, stop) can be taken whole: 2 a long run, 1 a run, 0 a page, NONE no more than a part of a page."""
    if seq % PAGE != 0 or seq + PAGE > stop:
        return NONE
    if seq % RUN != 0 or seq + RUN > stop:
        return 0
    return 1 if seq % LONG_RUN != 0 or seq + LONG_RUN > stop else 2


@part
def length(level: int, seq: int, stop: int) -> int:
    """Elements of what `whole` tells; of a part of a page, those up to its end or `stop`."""
    return LONG_RUN if level == 2 else RUN if level == 1 else PAGE if level == 0 else min(PAGE - seq % PAGE, stop - seq)


@part
def book_window(pool: Pool, head: Struct, cursor: Struct, sums: Struct) -> None:
    """Sums of the books from the cursor on: first all that add up, then the squares about the mean of all."""
    clear_book_sums(sums)
    stop = head.books.head
    seq, page = cursor.seq, cursor.page
    while seq < stop:
        level = whole(seq, stop)
        count = length(level, seq, stop)
        if level == NONE:
            add_book_points(pool.points[page], seq % PAGE, seq % PAGE + count, sums)
        else:
            add_book_sums(pool.sums[page, level], sums)
        page = pool.links[page, max(level, 0)]
        seq += count
    set_mean(sums)
    seq, page = cursor.seq, cursor.page
    while seq < stop:
        level = whole(seq, stop)
        count = length(level, seq, stop)
        if level == NONE:
            add_point_deviations(pool.points[page], seq % PAGE, seq % PAGE + count, sums)
        else:
            add_deviation(pool.sums[page, level], sums)
        page = pool.links[page, max(level, 0)]
        seq += count


@part
def trade_window(pool: Pool, cursor: Struct, stop: int, sums: Struct) -> None:
    """Sums of the trades from the cursor on and before `stop`."""
    clear_trade_sums(sums)
    seq, page = cursor.seq, cursor.page
    while seq < stop:
        level = whole(seq, stop)
        count = length(level, seq, stop)
        if level == NONE:
            add_trade_points(pool.points[page], seq % PAGE, seq % PAGE + count, sums)
        else:
            add_trade_sums(pool.sums[page, level], sums)
        page = pool.links[page, max(level, 0)]
        seq += count
