"""Rows a second of a sink into an S3 server beside it, as a share of those into a folder; Delta tables likewise.

The same rows in turn, by a process each. Broker and S3 server share the machine and its cores with the sink; what the
server itself works is told too. A broker of its own, or that of `STREAMPROC_BENCH_BOOTSTRAP`.
"""

import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.bench_sink import fill
from benchmarks.kafka import broker
from benchmarks.measure import SCRATCH, alternating, tell
from benchmarks.sink_run import settings_of
from streamproc.simulate import Market
from tests.s3 import Server, running_server

WANTED_RATIO = 0.7


class Sinks:
    """Runs of sinks over one prefilled topic."""

    def __init__(self, bootstrap: str, server: Server, seconds: float) -> None:
        self._bootstrap, self._server = bootstrap, server
        self._prefix = f"bench{uuid.uuid4().hex[:6]}"
        market = Market(symbols=100, seconds=seconds, levels=20, rate_hz=10)
        self.rows = fill(settings_of(bootstrap, self._prefix), market)
        self.server_cpu_s: list[float] = []
        """Of each run into the S3 server."""

    def into_folder(self) -> float:
        return self._measured(str(self._folder()), {})

    def delta_into_folder(self) -> float:
        return self._measured(str(self._folder()), {"format": "delta"})

    def into_s3(self) -> float:
        return self._into_s3({})

    def delta_into_s3(self) -> float:
        return self._into_s3({"format": "delta"})

    def _folder(self) -> Path:
        folder = SCRATCH / "sink-out"
        shutil.rmtree(folder, ignore_errors=True)
        return folder

    def _into_s3(self, sink: Mapping[str, Any]) -> float:
        bucket = self._server.bucket()
        before = self._server.cpu_seconds()
        rate = self._measured(bucket.address, {**sink, "storage": bucket.options()})
        self.server_cpu_s.append(self._server.cpu_seconds() - before)
        shutil.rmtree(bucket.data)
        return rate

    def _measured(self, output: str, sink: Mapping[str, Any]) -> float:
        """Rows a second of one run in a process of its own."""
        given = [self._bootstrap, self._prefix, str(self.rows), output, json.dumps(sink)]
        done = subprocess.run(
            [sys.executable, "-m", "benchmarks.sink_run", *given], check=True, stdout=subprocess.PIPE, timeout=600
        )
        result: dict[str, Any] = json.loads(done.stdout)
        assert result["written"] == self.rows
        return float(result["rows_per_s"])


def main(seconds: float, rounds: int) -> None:
    """Fill, run each some times in turn, tell the medians."""
    SCRATCH.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix="s3-", dir=SCRATCH))
    try:
        with broker() as bootstrap, running_server(folder) as server:
            sinks = Sinks(bootstrap, server, seconds)
            works = [sinks.into_folder, sinks.into_s3, sinks.delta_into_folder, sinks.delta_into_s3]
            local, s3, delta_local, delta_s3 = alternating(works, rounds)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    tell("sink: hf rows a second into a folder", local, "for comparison", f"{sinks.rows:,} rows")
    tell("sink: hf rows a second into S3", s3, "for comparison")
    tell("sink: S3 / folder", s3 / local, f">= {WANTED_RATIO}")
    tell("sink: Delta tables in S3 / in a folder", delta_s3 / delta_local, "for comparison")
    tell("sink: Delta tables / plain files, in a folder", delta_local / local, "for comparison")
    tell("sink: CPU seconds of the S3 server a run", statistics.median(sinks.server_cpu_s), "for comparison")


if __name__ == "__main__":
    main(*((100, 1) if "--quick" in sys.argv else (400, 3)))
