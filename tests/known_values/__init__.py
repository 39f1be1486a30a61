"""Cases worked out by hand from the specification, for the twin and for the real engine alike.

Wrap an engine so that it satisfies `Engine`, then `faults_of(case, engine)` is empty for every case of `CASES`.
"""

from . import bars, configuration, flow, input, structure
from .case import Case, Engine, faults_of

CASES = [*input.CASES, *structure.CASES, *flow.CASES, *bars.CASES, *configuration.CASES]

__all__ = ["CASES", "Case", "Engine", "faults_of"]
