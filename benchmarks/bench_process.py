"""`process` at full speed: books a second through a real broker, exactly once, against bare consuming and itself.

A broker of its own (or that of `STREAMPROC_BENCH_BOOTSTRAP`), 12 partitions, books of 20 levels, 10 a second a symbol.
The members are started as users start them. Speed is that of the group's committed offsets: from the first commit
behind a fifth of the topic to the last commit but one, so that no start-up counts. Each run goes on until the whole
topic is committed, and counts: with a feature row too few or too many there is no figure.
"""

import json
import shutil
import sys
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from typing import Any

from benchmarks.children import Sample, check_all, child, member_command, rate, watched
from benchmarks.kafka import PARTITIONS, Topics, broker, ends, records
from benchmarks.measure import SCRATCH, alternating, tell
from benchmarks.raw_consume import raw_rate
from benchmarks.raw_topic import Filled, fill, market

SYMBOLS, MANY_SYMBOLS = 100, 10_000
LINES_A_SEGMENT = 10
FOLDER = SCRATCH / "members"


def process_rate(topics: Topics, filled: Filled, **settings: Any) -> float:
    """Books a second of one member that begins with nothing."""
    topics.reset()
    shutil.rmtree(FOLDER, ignore_errors=True)
    with child(member_command(topics, FOLDER / "member-1", **settings)) as member:
        samples = watched(topics, topics.names.process_group, filled.records, member.check)
        summary = json.loads(member.stop())
    assert summary["records"] == filled.records, summary
    check_output(topics, filled)
    return rate(samples, filled.records // 5) * filled.books / filled.records


def pair_rate(topics: Topics, filled: Filled) -> float:
    """Books a second of two members, from when both have their partitions until one of them has no more to do."""
    topics.reset()
    shutil.rmtree(FOLDER, ignore_errors=True)
    with ExitStack() as stack:
        pair = [stack.enter_context(child(member_command(topics, FOLDER / f"member-{n}"))) for n in (1, 2)]
        samples = watched(topics, topics.names.process_group, filled.records, partial(check_all, pair))
        runs = [one.running() for one in pair]
        summaries = [json.loads(one.stop()) for one in pair]
    assert sum(summary["records"] for summary in summaries) == filled.records, summaries
    check_output(topics, filled)
    return rate(_both_busy(samples, runs, ends(topics.settings, topics.names.raw)), 0)


def _both_busy(samples: list[Sample], runs: list[dict[int, float]], end: list[int]) -> list[Sample]:
    """Samples while each of two members worked on partitions that were its own to the end.

    Parameters
    ----------
    runs : of each member, since when its partitions run.
    """
    settled = max(at for member in runs for at in member.values())
    owners = [max((0, 1), key=lambda one: runs[one].get(number, 0.0)) for number in range(PARTITIONS)]
    assert set(owners) == {0, 1}, "one member owned all"

    def busy(sample: Sample, member: int) -> bool:
        return any(sample.offsets[n] < end[n] for n in range(PARTITIONS) if owners[n] == member)

    return [one for one in samples if one.at >= settled and busy(one, 0) and busy(one, 1)]


def check_output(topics: Topics, filled: Filled) -> None:
    """Every row is there, once, and nothing was refused."""
    rows = sum(1 for _ in records(topics.settings, topics.names.hf))
    refused = sum(1 for _ in records(topics.settings, topics.names.dlq))
    assert (rows, refused) == (filled.rows, 0), f"{rows} rows instead of {filled.rows}, {refused} dead letters"


def main(seconds: float, rounds: int) -> None:
    """Fill four topics once, then measure on them in turn."""
    with broker() as servers:
        single, packed, many = Topics(servers), Topics(servers), Topics(servers)
        lines = fill(single, market(SYMBOLS, seconds))
        segments = fill(packed, market(SYMBOLS, seconds), LINES_A_SEGMENT)
        spread = fill(many, market(MANY_SYMBOLS, seconds * SYMBOLS / MANY_SYMBOLS))
        process_rate(single, lines)  # compiles, where that was not done before
        works: list[Callable[[], float]] = [
            partial(raw_rate, single, lines.records),
            partial(process_rate, single, lines),
            partial(process_rate, packed, segments),
            partial(process_rate, single, lines, commit_interval=0.1),
            partial(process_rate, single, lines, commit_interval=1),
            partial(pair_rate, single, lines),
            partial(process_rate, many, spread),
        ]
        tell_all(*alternating(works, rounds), books=lines.books)
    shutil.rmtree(FOLDER, ignore_errors=True)


def tell_all(
    raw: float, one: float, packed: float, often: float, seldom: float, pair: float, many: float, *, books: int
) -> None:
    """The figures, from books a second of each work."""
    tell("process: books a second, one member, one book a record", one, "for comparison", f"{books:,} books")
    tell("process / raw consume()", one / raw, ">= 0.25, wanted 0.35", f"raw: {raw:,.0f} records/s")
    tell("process: segments of 10 lines / one line a record", packed / one, ">= 1.3", f"{packed:,.0f} books/s")
    tell(
        "process: a commit each 100 ms / each second",
        often / seldom,
        ">= 0.85",
        f"{often:,.0f} and {seldom:,.0f} books/s",
    )
    tell("process: two members / one, with the broker on the same cores", pair / one, ">= 1.3", f"{pair:,.0f} books/s")
    tell("process: 10,000 symbols / 100", many / one, ">= 0.6", f"{many:,.0f} books/s")


if __name__ == "__main__":
    main(*((300, 1) if "--quick" in sys.argv else (600, 5)))
