"""Random settings and random input for tests: a small market with every oddity of real feeds, as raw lines of bytes.

`random_stream` and `random_config` repeat from a seed and serve long runs; `streams` and `configs` are hypothesis
strategies over the same market, made of small steps so that a failing example shrinks to few and plain lines.
`long_stream` is plain and quickly made, for what takes many lines to show.
"""

from .long import book_line, long_stream, trades_line
from .settings import configs, random_config
from .steps import ELAPSED_MS, KINDS, Step, lines_of, random_stream, streams

__all__ = [
    "ELAPSED_MS",
    "KINDS",
    "Step",
    "book_line",
    "configs",
    "lines_of",
    "long_stream",
    "random_config",
    "random_stream",
    "streams",
    "trades_line",
]
