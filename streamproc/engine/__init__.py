"""Bytes in, rows out: the loop over lines, the symbols' table, what comes out."""

from streamproc.engine.engine import Batch, Engine, Rejected

__all__ = ["Batch", "Engine", "Rejected"]
