"""Windows (t - h, t] over the rings: where they begin, and the sums over them.

A window is read from whole long runs, runs and pages, and the elements of its first and last page: a hundred or so sums for any
length. Nothing is kept between reads but where the window began, so a statistic is a function of the window's own elements
and their places in the ring: no batch, restart or earlier read can reach it.
"""

from streamproc.jit import part
from streamproc.state.layout import PAGE
from streamproc.state.pages import RUN, add_book_sums, add_trade_sums, clear_book_sums, clear_trade_sums, sum_books, sum_trades

LONG_RUN = PAGE * RUN


@part
def move_cursor(pool, head, cursor, edge):
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
def move_trade_cursor(pool, head, cursor, edge):
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
def book_window(pool, head, cursor, sums, piece):
    """Sums of the books from the cursor on into `sums`; `piece` is scratch."""
    clear_book_sums(sums)
    seq = cursor.seq
    page = cursor.page
    stop = head.books.head
    while seq < stop:
        place = seq % PAGE
        if place > 0 or seq + PAGE > stop:
            end = min(PAGE, place + stop - seq)
            sum_books(pool.points[page], place, end, piece)
            add_book_sums(sums, piece)
            page = pool.links[page, 0]
            seq += end - place
            continue
        level = 2 if seq % LONG_RUN == 0 and seq + LONG_RUN <= stop else 1 if seq % RUN == 0 and seq + RUN <= stop else 0
        add_book_sums(sums, pool.sums[page, level])
        page = pool.links[page, level]
        seq += LONG_RUN if level == 2 else RUN if level == 1 else PAGE


@part
def trade_window(pool, cursor, stop, sums, piece):
    """Sums of the trades from the cursor on and before `stop` into `sums`; `piece` is scratch."""
    clear_trade_sums(sums)
    seq = cursor.seq
    page = cursor.page
    while seq < stop:
        place = seq % PAGE
        if place > 0 or seq + PAGE > stop:
            end = min(PAGE, place + stop - seq)
            sum_trades(pool.points[page], place, end, piece)
            add_trade_sums(sums, piece)
            page = pool.links[page, 0]
            seq += end - place
            continue
        level = 2 if seq % LONG_RUN == 0 and seq + LONG_RUN <= stop else 1 if seq % RUN == 0 and seq + RUN <= stop else 0
        add_trade_sums(sums, pool.sums[page, level])
        page = pool.links[page, level]
        seq += LONG_RUN if level == 2 else RUN if level == 1 else PAGE
