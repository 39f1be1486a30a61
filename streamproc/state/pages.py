"""Rings of pages: appending, dropping, and the aggregates that pages carry.

A ring is a linked list of pages; element n lies in block n // PAGE. A full page carries the sums of its elements, the first page of an
aligned run of PAGE full pages those of the run, the first page of an aligned run of runs those of the long run: what a
window is summed from, without ever subtracting.

Deviations (squares about the mean) merge by T. Chan, G. Golub, R. LeVeque, Updating formulae and a pairwise algorithm for
computing sample variances, 1979, eq. 2.1.
"""

import numpy as np

from streamproc.jit import part
from streamproc.parse.record import BUY, SELL
from streamproc.state.layout import FREE, LEFT, LINKS, NONE, PAGE

RUN = PAGE * PAGE
"""Elements of a run, and pages of a long run."""


@part
def next_place(ring, pool):
    """Where the next element goes: (page, place in it). A page is taken from the pool when the last one is full."""
    place = ring.head % PAGE
    if place == 0:
        links = pool.links
        page = pool.free[FREE]
        pool.free[FREE] = links[page, 0]
        pool.free[LEFT] -= 1
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
def drop_first(ring, pool):
    """Give the first page back to the pool; a run that began with it will have no sums."""
    page = ring.first
    ring.first = pool.links[page, 0]
    ring.block += 1
    if ring.run == page:
        ring.run = NONE
    if ring.long_run == page:
        ring.long_run = NONE
    if ring.first == NONE:
        ring.last = NONE
    pool.links[page, 0] = pool.free[FREE]
    pool.free[FREE] = page
    pool.free[LEFT] += 1


@part
def live_pages(ring):
    """Pages in the ring."""
    return 0 if ring.first == NONE else (ring.head + PAGE - 1) // PAGE - ring.block


@part
def clear_book_sums(sums):
    """No elements."""
    sums.n = 0
    sums.r = 0.0
    sums.rr = 0.0
    sums.deviation = 0.0
    sums.ofi_n = 0
    sums.ofi = 0.0


@part
def add_book_sums(into, other):
    """Add the sums of what follows."""
    if other.n > 0:
        if into.n > 0:
            apart = other.r / other.n - into.r / into.n
            into.deviation += other.deviation + apart * apart * (float(into.n) * other.n / (into.n + other.n))
        else:
            into.deviation = other.deviation
        into.n += other.n
        into.r += other.r
        into.rr += other.rr
    into.ofi_n += other.ofi_n
    into.ofi += other.ofi


@part
def sum_books(points, start, stop, sums):
    """Sums of the elements [start, stop) of a page. Null returns and order flows count for nothing."""
    clear_book_sums(sums)
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
    mean = sums.r / max(sums.n, 1)
    for k in range(start, stop):
        r = points[k].r
        if not np.isnan(r):
            sums.deviation += (r - mean) * (r - mean)


@part
def complete_books(pool, ring):
    """Sums of the page that was just filled, and of the runs that end with it."""
    page = ring.last
    sum_books(pool.points[page], 0, PAGE, pool.sums[page, 0])
    blocks = ring.head // PAGE
    level = 1
    for first, length in ((ring.run, PAGE), (ring.long_run, RUN)):
        if blocks % length == 0 and first != NONE:
            sums = pool.sums[first, level]
            clear_book_sums(sums)
            page = first
            for _ in range(PAGE):
                add_book_sums(sums, pool.sums[page, level - 1])
                page = pool.links[page, level - 1]
        level += 1


@part
def append_book(pool, head, t, mid, r, e, tight):
    """Append a valid book to its symbol's ring."""
    ring = head.books
    page, place = next_place(ring, pool)
    point = pool.points[page, place]
    point.t = t
    point.mid = mid
    point.r = r
    point.e = e
    point.tight = tight
    if place == PAGE - 1:
        complete_books(pool, ring)


@part
def trim_books(pool, head, before):
    """Drop the pages that no window needs that begins after `before`: the last element at or before that stays."""
    ring = head.books
    while ring.first != ring.last:
        second = pool.links[ring.first, 0]
        if pool.points[second, 0].t > before:
            break
        drop_first(ring, pool)


@part
def restart_books(pool, head):
    """Begin a new segment at the next element: nothing before it will be read."""
    ring = head.books
    while ring.first != NONE and (ring.first != ring.last or ring.head % PAGE == 0):
        drop_first(ring, pool)
    head.segment = ring.head


@part
def clear_trade_sums(sums):
    """No elements."""
    sums.volume = 0.0
    sums.buy = 0.0
    sums.sell = 0.0


@part
def add_trade_sums(into, other):
    """Add the sums of what follows."""
    into.volume += other.volume
    into.buy += other.buy
    into.sell += other.sell


@part
def sum_trades(points, start, stop, sums):
    """Sums of the elements [start, stop) of a page."""
    clear_trade_sums(sums)
    for k in range(start, stop):
        amount = points[k].amount
        sums.volume += amount
        if points[k].side == BUY:
            sums.buy += amount
        elif points[k].side == SELL:
            sums.sell += amount


@part
def complete_trades(pool, ring):
    """Sums of the page that was just filled, and of the runs that end with it."""
    page = ring.last
    sum_trades(pool.points[page], 0, PAGE, pool.sums[page, 0])
    blocks = ring.head // PAGE
    level = 1
    for first, length in ((ring.run, PAGE), (ring.long_run, RUN)):
        if blocks % length == 0 and first != NONE:
            sums = pool.sums[first, level]
            clear_trade_sums(sums)
            page = first
            for _ in range(PAGE):
                add_trade_sums(sums, pool.sums[page, level - 1])
                page = pool.links[page, level - 1]
        level += 1


@part
def append_trade(pool, head, t, amount, side):
    """Append a trade to its symbol's ring."""
    ring = head.trades
    page, place = next_place(ring, pool)
    point = pool.points[page, place]
    point.t = t
    point.amount = amount
    point.side = side
    if place == PAGE - 1:
        complete_trades(pool, ring)


@part
def trim_trades(pool, head, before):
    """Drop the pages whose trades all lie at or before `before`."""
    ring = head.trades
    while ring.first != ring.last and pool.points[ring.first, PAGE - 1].t <= before:
        drop_first(ring, pool)
