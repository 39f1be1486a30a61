"""One run of a sink, which `bench_sink` starts in a process of its own: as JSON, how fast it was and what it took."""

import json
import sys
import time
import uuid
from typing import Any

from benchmarks.measure import memory_kb
from streamproc.config import KafkaConfig, Settings, SinkConfig, StateConfig
from streamproc.kafka.client import admin
from streamproc.kafka.sink.member import ROLES, Sink
from streamproc.kafka.sink.output import opened
from streamproc.kafka.topics import check_topics
from streamproc.observe.stop import StopRequest


def settings_of(bootstrap: str, prefix: str, sink: SinkConfig | None = None) -> Settings:
    """A feature row for each book, so that rows come as fast as the sink takes them."""
    return Settings(
        kafka=KafkaConfig(bootstrap_servers=bootstrap, prefix=prefix),
        state=StateConfig(bar_idle_close=None, hf_emit_interval=0),
        sink=sink or SinkConfig(),
    )


class Until(StopRequest):
    """Asks for the end once so many rows were read; notes time and memory on the way."""

    def __init__(self, rows: int) -> None:
        super().__init__()
        self.member: Sink | None = None
        self.begun: tuple[float, float, int] | None = None
        self.half_kb = 0
        self._rows = rows

    @property
    def requested(self) -> bool:
        read = self.member.counts["records"] if self.member else 0
        if read and self.begun is None:
            self.begun = time.perf_counter(), time.process_time(), read
        if read >= self._rows // 2 and not self.half_kb:
            self.half_kb = memory_kb("VmHWM")
        return read >= self._rows


def run_sink(bootstrap: str, prefix: str, rows: int, output: str, sink: SinkConfig) -> dict[str, Any]:
    """One run in this process: rows a second, and a CPU second, from the first row on."""
    settings = settings_of(bootstrap, prefix, sink)
    settings.kafka.properties["group.id"] = f"{prefix}.{uuid.uuid4().hex[:6]}"
    until = Until(rows)
    client = admin(settings.kafka)
    member = Sink(settings, opened(output, settings), lambda: check_topics(client, settings.kafka, ROLES), until)
    until.member = member
    member.run()
    assert until.begun is not None
    begun, begun_cpu, read = until.begun
    peak_kb = memory_kb("VmHWM")
    return {
        "rows_per_s": (rows - read) / (time.perf_counter() - begun),
        "rows_per_cpu_s": (rows - read) / (time.process_time() - begun_cpu),
        "grown": peak_kb / until.half_kb,
        "peak_mb": peak_kb / 1e3,
        "files": member.counts["files"],
        "written": member.counts["hf_rows"],
    }


if __name__ == "__main__":
    of_sink = SinkConfig.model_validate_json(sys.argv[5] if len(sys.argv) > 5 else "{}")
    print(json.dumps(run_sink(sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4], of_sink)))
