"""Simulated markets: order books and trades in the input format, seeded and repeatable, with every fault on request.

>>> from streamproc.simulate import Market, generate
>>> sum(chunk.count(b"\\n") for chunk in generate(Market(symbols=2, seconds=10))) > 100
True
"""

from streamproc.simulate.market import DEFAULT_START_MS, Market
from streamproc.simulate.simulation import Simulation, generate, simulate

__all__ = ["DEFAULT_START_MS", "Market", "Simulation", "generate", "simulate"]
