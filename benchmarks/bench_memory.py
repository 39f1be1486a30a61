"""Memory grown above the idle process.

On a ten times longer input over that on 200,000 books. Each in a process of its own.
"""

import json
import subprocess
import sys
from pathlib import Path

from benchmarks.measure import SCRATCH, market_file, tell
from streamproc.simulate import Market

CHILD = """
import sys, json
from benchmarks.measure import memory_kb
from streamproc import process_files
from streamproc.local.run import Run
from streamproc.engine import Engine
from streamproc.config import StateConfig
Engine(StateConfig()).feed(b"{}\\n")
idle = memory_kb("VmRSS")
summary = process_files([sys.argv[1]], sys.argv[2], overwrite=True)
print(json.dumps({"grown_kb": memory_kb("VmHWM") - idle, "idle_kb": idle, "books": summary["books"]}))
"""


def grown(path: Path) -> dict[str, int]:
    """Peak above idle, in kB, of a run over a file."""
    command = [sys.executable, "-c", CHILD, str(path), str(SCRATCH / "memory-out")]
    measured: dict[str, int] = json.loads(subprocess.run(command, check=True, capture_output=True, timeout=600).stdout)
    return measured


if __name__ == "__main__":
    short = grown(market_file(Market(symbols=20, seconds=1000, levels=20), "run"))
    long = grown(market_file(Market(symbols=20, seconds=10_000, levels=20), "run"))
    tell(
        f"memory grown, {long['books']:,} books / {short['books']:,} books",
        long["grown_kb"] / short["grown_kb"],
        "<= 1.2",
        f"{long['grown_kb'] / 1e3:.0f} MB against {short['grown_kb'] / 1e3:.0f}, idle {short['idle_kb'] / 1e3:.0f} MB",
    )
