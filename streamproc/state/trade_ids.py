"""The last trade ids of a symbol: a ring of 16-byte keys (see `parse.scan.id_key`) with hash chains over it."""

from streamproc.jit import Ints, Struct, part
from streamproc.state.layout import CHAINS, IDS, PAGE, IdPool
from streamproc.state.pages import drop_first, next_place


@part
def chain_of(low: int, high: int) -> int:
    """Hash chain of an id."""
    mixed = (low ^ (high * 0x5851F42D4C957F2D)) * 0x2545F4914F6CDD1D
    return (mixed >> 40) & (CHAINS - 1)


@part
def is_remembered(pool: IdPool, chains: Ints, low: int, high: int) -> bool:
    """Whether an id is among the symbol's last accepted ones; 0, 0 stands for none and never is."""
    link = chains[chain_of(low, high)]
    while link != 0:
        page, place = (link - 1) // PAGE, (link - 1) % PAGE
        point = pool.points[page, place]
        if point.low == low and point.high == high:
            return True
        link = pool.nexts[page, place]
    return False


@part
def remember_id(pool: IdPool, head: Struct, chains: Ints, low: int, high: int) -> None:
    """Remember an id, and the oldest no more."""
    if low == 0 and high == 0:
        return
    ring = head.ids
    if ring.head - IDS >= ring.block * PAGE:
        forget_oldest(pool, ring, chains)
    page, place = next_place(ring, pool.links, pool.free)
    point = pool.points[page, place]
    point.low = low
    point.high = high
    chain = chain_of(low, high)
    pool.nexts[page, place] = chains[chain]
    chains[chain] = page * PAGE + place + 1


@part
def forget_oldest(pool: IdPool, ring: Struct, chains: Ints) -> None:
    """Take the oldest id, which is the last of its chain, out of that; its page is dropped after the page's last."""
    place = ring.head % PAGE
    point = pool.points[ring.first, place]
    chain = chain_of(point.low, point.high)
    link, oldest = chains[chain], ring.first * PAGE + place + 1
    if link == oldest:
        chains[chain] = 0
    else:
        while pool.nexts[(link - 1) // PAGE, (link - 1) % PAGE] != oldest:
            link = pool.nexts[(link - 1) // PAGE, (link - 1) % PAGE]
        pool.nexts[(link - 1) // PAGE, (link - 1) % PAGE] = 0
    if place == PAGE - 1:
        drop_first(ring, pool.links, pool.free)
