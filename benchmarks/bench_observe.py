"""What it costs a member to be watched: full speed with metrics, probes and JSON logs, and without.

Each second all three pages are asked for, five times as often as Prometheus and Kubernetes do.
"""

import json
import shutil
import sys
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

from benchmarks.bench_process import FOLDER, SYMBOLS, check_output
from benchmarks.children import child, member_command, rate, watched
from benchmarks.kafka import Topics, broker
from benchmarks.measure import alternating, tell
from benchmarks.raw_topic import Filled, fill, market
from tests.broker import free_ports

PAGES = ("livez", "readyz", "metrics")


@contextmanager
def asking(port: int) -> Iterator[list[int]]:
    """Ask for all pages each second; how many answers came."""
    ended, answers = threading.Event(), [0]

    def ask() -> None:
        while not ended.wait(1):
            for page in PAGES:
                try:
                    with urllib.request.urlopen(f"http://127.0.0.1:{port}/{page}", timeout=5) as answer:
                        answer.read()
                    answers[0] += 1
                except OSError:  # not there yet, or not ready
                    continue

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        yield answers
    finally:
        ended.set()
        thread.join()


def observed_rate(topics: Topics, filled: Filled, observed: bool) -> float:
    """Books a second of one member that begins with nothing."""
    topics.reset()
    shutil.rmtree(FOLDER, ignore_errors=True)
    [port] = free_ports(1)
    command = member_command(topics, FOLDER / "member-1")
    flags = ["--set", f"observe.port={port}", "--set", "observe.host=127.0.0.1"] if observed else ["--quiet"]
    with asking(port) as answers, child([*command, *flags]) as member:
        samples = watched(topics, topics.names.process_group, filled.records, member.check)
        summary = json.loads(member.stop())
    assert summary["records"] == filled.records, summary
    assert bool(answers[0]) == observed
    check_output(topics, filled)
    return rate(samples, filled.records // 5)


def main(seconds: float, rounds: int) -> None:
    """Fill a topic once, then measure on it in turn."""
    with broker() as servers:
        topics = Topics(servers)
        filled = fill(topics, market(SYMBOLS, seconds))
        works = [partial(observed_rate, topics, filled, observed) for observed in (False, True)]
        without, watching = alternating(works, rounds)
        tell("process: cost of metrics, probes and logs", 1 - watching / without, "<= 0.03", f"{without:,.0f} books/s")
    shutil.rmtree(FOLDER, ignore_errors=True)


if __name__ == "__main__":
    main(*((300, 1) if "--quick" in sys.argv else (600, 5)))
