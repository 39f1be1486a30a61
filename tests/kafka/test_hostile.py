"""Input that means no good: poison, records in the wrong partition, clocks that are wrong by decades."""

import random
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import orjson
import pytest
from confluent_kafka import Producer

from streamproc.config import Settings
from streamproc.kafka import client
from streamproc.kafka.names import Names
from streamproc.kafka.partitioner import partition_of
from streamproc.kafka.process.changelog import state_prefix
from streamproc.simulate import Market
from streamproc.state.snapshot import key_prefix
from tests.kafka.against_run import (
    PATIENCE_SECONDS,
    assert_topics_as_run,
    lines_of,
    process_up_to,
    row_differences,
    run_on,
)
from tests.kafka.groups import (
    committed,
    dead_letters,
    eventually,
    fill_raw,
    key_of,
    read_topic,
    rejects_of_run,
    running_member,
    with_process,
)
from tests.kafka.publishing import publish
from tests.kafka.sinks import hints_reach_the_end, running_sink, with_sink
from tests.kafka.topics import make_topics
from tests.outputs import assert_same

PARTITIONS = 3


@pytest.fixture(scope="module")
def lines() -> list[bytes]:
    return lines_of(Market(symbols=6, seconds=40, levels=5, rate_hz=6, seed=31))


def poisoned(lines: Sequence[bytes], share: float, seed: int) -> list[bytes]:
    """The lines, among them copies of some that are damaged at random."""
    chance = random.Random(seed)
    found = []
    for line in lines:
        found.append(line)
        if chance.random() < share:
            found.append(damaged(line, chance))
    return found


def damaged(line: bytes, chance: random.Random) -> bytes:
    """A line that is none any more, or says something else."""
    place = chance.randrange(1, len(line))
    kinds = (
        line[:place],
        line[place:],
        line[:place] + bytes([chance.choice((0, 0x0D, 0x22, 0x7F, 0x80, 0xFF))]) + line[place:],
        chance.randbytes(30).replace(b"\n", b"\0"),
        b"[" * 2_000,
        chance.choice((b"null", b"{}", b"[]", b'"', b"NaN", b"\xef\xbb\xbf{}", b'{"exchange":"x","symbol":7}')),
        line.replace(b'"type":', b'"Type":'),
        line.replace(b'"data":', b'"data":-'),
    )
    return chance.choice(kinds)


def test_poison_ends_up_where_run_leaves_it_and_nothing_else_is_different(
    settings: Settings, lines: list[bytes], tmp_path: Path
) -> None:
    """One line of a hundred, published, processed and written to files."""
    make_topics(settings, PARTITIONS)
    output = run_on(poisoned(lines, 0.01, seed=3), settings, tmp_path / "run")
    rejects = rejects_of_run(output)
    assert rejects.total() > len(lines) / 200
    publish(settings, tmp_path / "run" / "lines.ndjson")
    raw = read_topic(settings, Names(settings.kafka.prefix).raw)
    ends = {record.partition(): record.offset() + 1 for record in raw}
    prompt = with_sink(with_process(settings, tmp_path / "state"), max_age=0.3, idle=0.3)
    with running_member(prompt):
        eventually(lambda: committed(settings) == sum(ends.values()), seconds=PATIENCE_SECONDS)
    assert dead_letters(settings) == rejects
    with running_sink(prompt, tmp_path / "out"):
        eventually(lambda: hints_reach_the_end(settings), seconds=PATIENCE_SECONDS)
    assert_same(tmp_path / "out", output)


def fill_by_another_hash(settings: Settings, lines: Sequence[bytes]) -> None:
    """Lines into the raw topic as a producer places them that keeps librdkafka's own default."""
    producer = Producer({"bootstrap.servers": settings.kafka.bootstrap_servers, "partitioner": "consistent"})
    for line in lines:
        producer.produce(Names(settings.kafka.prefix).raw, line, key_of(line))
    assert not producer.flush(30)


def fill_odd_records(settings: Settings, lines: Sequence[bytes]) -> None:
    """All lines in one record, in a partition of its own choice; each without a key, or with one of another symbol."""
    producer = client.producer(settings.kafka, {})
    raw = Names(settings.kafka.prefix).raw
    producer.produce(raw, b"\n".join(lines), key_of(lines[0]), partition=1)
    for place, line in enumerate(lines):
        producer.produce(raw, line, (None, b"binance:NO/BODY")[place % 2], partition=place % PARTITIONS)
    assert not producer.flush(30)


def test_a_line_in_the_wrong_partition_reaches_no_state(settings: Settings, lines: list[bytes], tmp_path: Path) -> None:
    """Of a producer with another hash, of records keyed wrongly or not at all, of records of several symbols."""
    make_topics(settings, PARTITIONS)
    third = len(lines) // 3
    fill_raw(settings, lines[:third])
    fill_by_another_hash(settings, lines[third : 2 * third])
    fill_odd_records(settings, lines[2 * third : 2 * third + 60])
    fill_raw(settings, lines[2 * third + 60 :])
    raw = read_topic(settings, Names(settings.kafka.prefix).raw)
    placed = [(line, record.partition()) for record in raw for line in (record.value() or b"").split(b"\n")]
    at_home = [line for line, number in placed if home_of(line) == number]
    output = run_on(at_home, settings, tmp_path / "run")
    misrouted = Counter(("misrouted", line) for line, number in placed if home_of(line) != number)
    assert misrouted.total() > 100

    process_up_to(with_process(settings, tmp_path / "state"), len(raw))
    assert row_differences(settings, output) == []
    assert dead_letters(settings) == misrouted + rejects_of_run(output)
    changelog = read_topic(settings, Names(settings.kafka.prefix).state)
    for exchange, symbol in {symbol_of(line) for line in lines}:
        prefix = state_prefix(0) + key_prefix(exchange, symbol)
        homes = {record.partition() for record in changelog if (record.key() or b"").startswith(prefix)}
        assert homes == {partition_of(f"{exchange}:{symbol}".encode(), PARTITIONS)}


def symbol_of(line: bytes) -> tuple[str, str]:
    message = orjson.loads(line)
    return message["exchange"], message["symbol"]


def home_of(line: bytes) -> int:
    return partition_of(":".join(symbol_of(line)).encode(), PARTITIONS)


FAR_MS = [1, 2, 86_400_000, 4_102_444_799_999, 4_102_444_799_998, 946_684_800_000]
"""Just after the epoch, and just before what is no time any more."""


def with_times(line: bytes, event_ms: int, collected_ms: int) -> bytes:
    """The line with another clock of the exchange and of the recorder."""
    message = orjson.loads(line)
    message["collected_at"] = collected_ms
    for told in message["data"] if message["type"] == "trades" else [message["data"]]:
        told["timestamp"] = event_ms
    return orjson.dumps(message)


def test_clocks_that_are_wrong_by_decades_block_no_partition(
    settings: Settings, lines: list[bytes], tmp_path: Path
) -> None:
    """Both clocks are wrong; of some symbols now and then, of one always."""
    make_topics(settings, PARTITIONS)
    chance = random.Random(5)
    victims = sorted({symbol_of(line) for line in lines})
    sent = []
    for place, line in enumerate(lines):
        always, sometimes = symbol_of(line) == victims[0], symbol_of(line) in victims[1:3]
        if always or (sometimes and chance.random() < 0.02):
            far = FAR_MS[place * len(FAR_MS) // len(lines)] if always else chance.choice(FAR_MS)
            line = with_times(line, min(far + place * always, 4_102_444_799_999), chance.choice([far, *FAR_MS]))  # noqa: PLW2901
        sent.append(line)
    count = fill_raw(settings, sent, timestamps=True)
    process_up_to(with_process(settings, tmp_path / "state", commit_interval=0.05), count)
    output = run_on(sent, settings, tmp_path / "run")
    assert rejects_of_run(output)
    assert_topics_as_run(settings, output)
