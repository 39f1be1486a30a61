"""When events happen and in which order a recorder sees them.

A symbol's events (books and trades messages together) form a Hawkes process with an exponential kernel, sampled by its
interarrival times (Dassios, Zhao, Electronic Communications in Probability 18, 2013, algorithm 3.1). Each symbol has
one event pending; a binary heap of (arrival, symbol) puts the symbols in the order of arrival.
"""

from typing import Any

import numpy as np

from streamproc.jit import kernel, part
from streamproc.simulate.book import I64
from streamproc.simulate.draws import Int, decay_q24, exponential_quantile, random_exponential
from streamproc.simulate.listing import SELF_EXCITED_SHARE

EXCITATION_US = np.int64(250_000)
"""Time constant of an event's effect on the rate of those after it."""

_JUMP_Q16 = round(SELF_EXCITED_SHARE * 1_000_000 / float(EXCITATION_US) * (1 << 16))
_CONSTANTS_A_SECOND = 1_000_000 // EXCITATION_US


@kernel
def schedule_next(books: Any, symbol: Int) -> None:
    """Draw the symbol's next event: when it happens and when it arrives (never before the one it follows)."""
    state, term = books.states[symbol], books.terms[symbol]
    wait_us = (random_exponential(books.random, symbol) * 1_000_000 << 16) // term.base_rate_q32
    # The hazard left in the excitation is finite: with the rest of the probability it sets nothing off.
    hazard_q16 = state.excited_q16 // _CONSTANTS_A_SECOND
    drawn_q16 = random_exponential(books.random, symbol)
    if drawn_q16 < hazard_q16:
        constants_q16 = exponential_quantile((drawn_q16 << 32) // hazard_q16)
        wait_us = min(wait_us, constants_q16 * EXCITATION_US >> 16)
    state.excited_q16 = (state.excited_q16 * decay_q24(wait_us, EXCITATION_US) >> 24) + _JUMP_Q16
    state.event_us += wait_us
    delay_us = term.latency_us + (random_exponential(books.random, symbol) * term.jitter_us >> 16)
    state.arrival_us = max(state.arrival_us, state.event_us + delay_us)


@part
def sift_down(heap: I64, size: Int) -> None:
    """Restore the order of a heap whose first entry was replaced."""
    entry, hole = heap[0], 0
    while 2 * hole + 1 < size:
        child = 2 * hole + 1
        if child + 1 < size and heap[child + 1] < heap[child]:
            child += 1
        if heap[child] >= entry:
            break
        heap[hole] = heap[child]
        hole = child
    heap[hole] = entry
