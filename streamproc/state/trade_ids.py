"""The last trade ids of a symbol: a ring of 16-byte keys (see `parse.scan.id_key`) with hash chains over it."""

import numpy as np
from numpy.typing import NDArray

from streamproc.jit import Ints, Struct, part
from streamproc.state.layout import IDS, NONE, IdPool


@part
def id_bucket(low: int, high: int) -> int:
    """Hash chain of an id."""
    mixed = (low ^ (high * 0x5851F42D4C957F2D)) * 0x2545F4914F6CDD1D
    return (mixed >> 40) & (IDS - 1)


@part
def is_remembered(pool: IdPool, head: Struct, low: int, high: int) -> bool:
    """Whether an id is among the symbol's last accepted ones; 0, 0 stands for none and never is."""
    if head.id_slot == NONE or (low == 0 and high == 0):
        return False
    keys = pool.keys[head.id_slot]
    place = pool.chains[head.id_slot, 0, id_bucket(low, high)]
    while place != NONE:
        if keys[place, 0] == low and keys[place, 1] == high:
            return True
        place = pool.chains[head.id_slot, 1, place]
    return False


@part
def remember_id(pool: IdPool, head: Struct, low: int, high: int) -> None:
    """Put an id in the place of the oldest."""
    if low == 0 and high == 0:
        return
    if head.id_slot == NONE:
        head.id_slot = pool.used[0]
        pool.used[0] += 1
    keys = pool.keys[head.id_slot]
    heads = pool.chains[head.id_slot, 0]
    nexts = pool.chains[head.id_slot, 1]
    place = head.id_count % IDS
    if head.id_count >= IDS and (keys[place, 0] != 0 or keys[place, 1] != 0):
        forget_id(keys, heads, nexts, place)
    bucket = id_bucket(low, high)
    keys[place, 0] = low
    keys[place, 1] = high
    nexts[place] = heads[bucket]
    heads[bucket] = place
    head.id_count += 1


@part
def forget_id(keys: Ints, heads: NDArray[np.int16], nexts: NDArray[np.int16], place: int) -> None:
    """Take the id at a place out of its chain."""
    bucket = id_bucket(keys[place, 0], keys[place, 1])
    if heads[bucket] == place:
        heads[bucket] = nexts[place]
        return
    before = heads[bucket]
    while nexts[before] != place:
        before = nexts[before]
    nexts[before] = nexts[place]
