"""Rings of pages: appending, dropping, and the aggregates that pages carry.

A ring is a linked list of pages; element n lies in block n // PAGE. A full page carries the sums of its elements, the
first page of an aligned run of PAGE full pages those of the run, the first page of an aligned run of runs those of the
long run: what a window is summed from, without ever subtracting.

Deviations (squares about the mean) are first summed about each page's own mean and then moved to the mean of all, both
exactly what they are called, so that nothing cancels (T. Chan, G. Golub, R. LeVeque, Algorithms for computing the
sample variance, 1983).
"""

import numpy as np

from streamproc.jit import Ints, Struct, StructArray, inlined, part
from streamproc.parse.record import BUY, SELL
from streamproc.state.layout import FREE, LEFT, LINKS, NONE, PAGE, Pool

RUN = PAGE * PAGE
"""Elements of a run, and pages of a long run."""


@part
def next_place(ring: Struct, links: Ints, free: Ints) -> tuple[int, int]:
    """Where the next element goes: (page, place in it). A page is taken from the pool when the last one is full."""
    place = ring.head % PAGE
    if place == 0:
        page = free[FREE]
        free[FREE] = links[page, 0]
        free[LEFT] -= 1
        for k in range(LINKS):
            links[page, k] = NONE
        block = ring.head // PAGE
        if ring.last == NONE:
            ring.first = page
            ring.block = block
        else:
            links[ring.last, 0] = page
        if block % PAGE == 0:
            if ring.run != NONE:
                links[ring.run, 1] = page
            ring.run = page
            if block % RUN == 0:
                if ring.long_run != NONE:
                    links[ring.long_run, 2] = page
                ring.long_run = page
        ring.last = page
    ring.head += 1
    return ring.last, place


@part
def drop_first(ring: Struct, links: Ints, free: Ints) -> None:
    """Give the first page back to the pool; a run that began with it will have no sums."""
    page = ring.first
    ring.first = links[page, 0]
    ring.block += 1
    if ring.run == page:
        ring.run = NONE
    if ring.long_run == page:
        ring.long_run = NONE
    if ring.first == NONE:
        ring.last = NONE
    links[page, 0] = free[FREE]
    free[FREE] = page
    free[LEFT] += 1


@part
def live_pages(ring: Struct) -> int:
    """Pages in the ring."""
    pages: int = 0 if ring.first == NONE else (ring.head + PAGE - 1) // PAGE - ring.block
    return pages


@part
def clear_book_sums(sums: Struct) -> None:
    """No elements."""
    sums.n = 0
    sums.r = 0.0
    sums.rr = 0.0
    sums.mean = 0.0
    sums.deviation = 0.0
    sums.ofi_n = 0
    sums.ofi = 0.0


@part
def add_book_points(points: StructArray, start: int, stop: int, sums: Struct) -> None:
    """Add the elements [start, stop) of a page, the null ones left out; mean and deviation come after."""
    for k in range(start, stop):
        r = points[k].r
        if not np.isnan(r):
            sums.n += 1
            sums.r += r
            sums.rr += r * r
        e = points[k].e
        if not np.isnan(e):
            sums.ofi_n += 1
            sums.ofi += e


@part
def add_book_sums(other: Struct, sums: Struct) -> None:
    """Add the sums of what follows; mean and deviation come after."""
    sums.n += other.n
    sums.r += other.r
    sums.rr += other.rr
    sums.ofi_n += other.ofi_n
    sums.ofi += other.ofi


@part
def set_mean(sums: Struct) -> None:
    """Mean of the returns, all of them added."""
    sums.mean = sums.r / max(sums.n, 1)


@part
def add_point_deviations(points: StructArray, start: int, stop: int, sums: Struct) -> None:
    """Add the squares of the elements [start, stop) about the mean of all."""
    for k in range(start, stop):
        r = points[k].r
        if not np.isnan(r):
            sums.deviation += (r - sums.mean) * (r - sums.mean)


@part
def add_deviation(other: Struct, sums: Struct) -> None:
    """Add the squares of other sums, taken from about their own mean to about the mean of all."""
    apart = other.mean - sums.mean
    sums.deviation += other.deviation + apart * apart * other.n


@part
def complete_books(pool: Pool, ring: Struct) -> None:
    """Sums of the page that was just filled, and of the runs that end with it."""
    sums = pool.sums[ring.last, 0]
    clear_book_sums(sums)
    add_book_points(pool.points[ring.last], 0, PAGE, sums)
    set_mean(sums)
    add_point_deviations(pool.points[ring.last], 0, PAGE, sums)
    blocks = ring.head // PAGE
    if blocks % PAGE == 0 and ring.run != NONE:
        complete_run(pool, ring.run, 1)
    if blocks % RUN == 0 and ring.long_run != NONE:
        complete_run(pool, ring.long_run, 2)


@part
def complete_run(pool: Pool, first: int, level: int) -> None:
    """Sums of a run that begins with page `first`, from those of its parts, which are a level below."""
    sums = pool.sums[first, level]
    clear_book_sums(sums)
    page = first
    for _ in range(PAGE):
        add_book_sums(pool.sums[page, level - 1], sums)
        page = pool.links[page, level - 1]
    set_mean(sums)
    page = first
    for _ in range(PAGE):
        add_deviation(pool.sums[page, level - 1], sums)
        page = pool.links[page, level - 1]


@inlined
def append_book(pool: Pool, head: Struct, t: int, mid: float, r: float, e: float, tight: int) -> None:
    """Append a valid book to its symbol's ring."""
    ring = head.books
    page, place = next_place(ring, pool.links, pool.free)
    point = pool.points[page, place]
    point.t = t
    point.mid = mid
    point.r = r
    point.e = e
    point.tight = tight
    if place == PAGE - 1:
        complete_books(pool, ring)


@part
def trim_books(pool: Pool, head: Struct, before: int) -> None:
    """Drop the pages that no window needs that begins after `before`: the last element at or before that stays."""
    ring = head.books
    while ring.first != ring.last:
        second = pool.links[ring.first, 0]
        if pool.points[second, 0].t > before:
            break
        drop_first(ring, pool.links, pool.free)


@part
def restart_books(pool: Pool, head: Struct) -> None:
    """Begin a new segment at the next element: nothing before it will be read."""
    ring = head.books
    while ring.first != NONE and (ring.first != ring.last or ring.head % PAGE == 0):
        drop_first(ring, pool.links, pool.free)
    head.segment = ring.head


@part
def clear_trade_sums(sums: Struct) -> None:
    """No elements."""
    sums.volume = 0.0
    sums.buy = 0.0
    sums.sell = 0.0


@part
def add_trade_points(points: StructArray, start: int, stop: int, sums: Struct) -> None:
    """Add the elements [start, stop) of a page."""
    for k in range(start, stop):
        amount = points[k].amount
        sums.volume += amount
        if points[k].side == BUY:
            sums.buy += amount
        elif points[k].side == SELL:
            sums.sell += amount


@part
def add_trade_sums(other: Struct, sums: Struct) -> None:
    """Add the sums of what follows."""
    sums.volume += other.volume
    sums.buy += other.buy
    sums.sell += other.sell


@part
def complete_trades(pool: Pool, ring: Struct) -> None:
    """Sums of the page that was just filled, and of the runs that end with it."""
    sums = pool.sums[ring.last, 0]
    clear_trade_sums(sums)
    add_trade_points(pool.points[ring.last], 0, PAGE, sums)
    blocks = ring.head // PAGE
    if blocks % PAGE == 0 and ring.run != NONE:
        complete_trade_run(pool, ring.run, 1)
    if blocks % RUN == 0 and ring.long_run != NONE:
        complete_trade_run(pool, ring.long_run, 2)


@part
def complete_trade_run(pool: Pool, first: int, level: int) -> None:
    """Sums of a run that begins with page `first`, from those of its parts, which are a level below."""
    sums = pool.sums[first, level]
    clear_trade_sums(sums)
    page = first
    for _ in range(PAGE):
        add_trade_sums(pool.sums[page, level - 1], sums)
        page = pool.links[page, level - 1]


@inlined
def append_trade(pool: Pool, head: Struct, t: int, amount: float, side: int) -> None:
    """Append a trade to its symbol's ring."""
    ring = head.trades
    page, place = next_place(ring, pool.links, pool.free)
    point = pool.points[page, place]
    point.t = t
    point.amount = amount
    point.side = side
    if place == PAGE - 1:
        complete_trades(pool, ring)


@part
def trim_trades(pool: Pool, head: Struct, before: int) -> None:
    """Drop the pages whose trades all lie at or before `before`."""
    ring = head.trades
    while ring.first != ring.last and pool.points[ring.first, PAGE - 1].t <= before:
        drop_first(ring, pool.links, pool.free)
