"""consume_rows: typed rows of what is committed, each at least once, and errors instead of silent jumps."""

import subprocess
import sys
import threading
import time
import uuid
from collections import Counter
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pytest
from confluent_kafka import Producer, TopicPartition

from streamproc.config import KafkaConfig, Settings, StateConfig
from streamproc.errors import DataError, UsageError
from streamproc.kafka import consume_rows
from streamproc.kafka.client import BrokerError, admin
from streamproc.kafka.names import Names
from streamproc.schema import COLUMNS_VERSION, arrow_schema, columns
from streamproc.simulate import Market
from tests.kafka.against_run import lines_of
from tests.kafka.groups import committed, eventually, fill_raw, read_topic, running_member, with_process
from tests.kafka.topics import make_topics
from tests.pages import ROOT, blocks


@pytest.fixture(scope="module")
def filled(bootstrap: str, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """Topics with the rows of 20 s of a market."""
    kafka = KafkaConfig(bootstrap_servers=bootstrap, prefix=f"t{uuid.uuid4().hex[:10]}")
    settings = Settings(kafka=kafka, state=StateConfig(bar_idle_close=None, max_levels=2))
    settings = with_process(settings, tmp_path_factory.mktemp("subscribe"))
    make_topics(settings, partitions=2)
    count = fill_raw(settings, lines_of(Market(symbols=6, seconds=20, levels=3, rate_hz=6)))
    with running_member(settings):
        eventually(lambda: committed(settings) == count)
    return settings


def stored(settings: Settings, stream: str) -> list[dict[str, Any]]:
    return [
        orjson.loads(one.value() or b"") for one in read_topic(settings, getattr(Names(settings.kafka.prefix), stream))
    ]


def as_stored(row: dict[str, Any]) -> bytes:
    """A typed row as it was before, in canonical form."""
    plain = {name: round(v.timestamp() * 1000) if isinstance(v, datetime) else v for name, v in row.items()}
    return orjson.dumps(plain, option=orjson.OPT_SORT_KEYS)


def counted(rows: list[dict[str, Any]]) -> Counter[bytes]:
    return Counter(map(as_stored, rows))


@pytest.mark.parametrize("stream", ["hf", "bars"])
def test_rows_are_typed_and_all_there(filled: Settings, stream: Any) -> None:
    expected = stored(filled, stream)
    assert len(expected) > 50
    with consume_rows(stream, filled) as rows:
        taken = list(islice(rows, len(expected)))
    assert counted(taken) == counted(expected)
    kinds = {"double": float, "int": int, "bool": bool, "time": datetime, "string": str}
    for row in taken:
        for column in columns(stream, filled.state):
            value = row[column.name]
            assert type(value) is kinds[column.kind] or (value is None and column.nullable), column.name
        assert row["timestamp"].tzinfo is UTC


def test_batches_are_of_the_schema_and_hold_the_same(filled: Settings) -> None:
    expected = stored(filled, "hf")
    found: list[pa.RecordBatch] = []
    with consume_rows("hf", filled, batches=True) as batches:
        for batch in batches:
            found.append(batch)
            if sum(map(len, found)) == len(expected):
                break
    assert all(batch.schema == arrow_schema("hf", filled.state) for batch in found)
    assert len(found) < len(expected) / 10
    assert counted(pa.Table.from_batches(found).to_pylist()) == counted(expected)
    other = filled.model_copy(update={"state": StateConfig(max_levels=3)})
    with consume_rows("hf", other, batches=True) as batches, pytest.raises(DataError, match="4 columns differ"):
        next(batches)


@pytest.fixture
def topic(settings: Settings) -> Settings:
    """One empty partition of each topic."""
    make_topics(settings, partitions=1)
    return settings


def produce(settings: Settings, nonces: range, *, commit: bool = True, schema: bytes = b"%d" % COLUMNS_VERSION) -> None:
    """Rows that tell themselves apart by `nonce`, in a transaction."""
    topic = Names(settings.kafka.prefix).hf
    producer = Producer({"bootstrap.servers": settings.kafka.bootstrap_servers, "transactional.id": topic})
    producer.init_transactions(30)
    producer.begin_transaction()
    for nonce in nonces:
        value = {"timestamp": 1_700_000_000_000 + nonce, "collected_at": None, "nonce": nonce}
        producer.produce(topic, orjson.dumps(value), partition=0, headers=[("schema", schema)])
    producer.flush(10)
    if commit:
        producer.commit_transaction(30)
    else:
        producer.abort_transaction(30)


def nonces(rows: Any, count: int) -> list[int]:
    return [row["nonce"] for row in islice(rows, count)]


def test_a_group_goes_on_behind_what_was_taken(topic: Settings) -> None:
    produce(topic, range(5))
    produce(topic, range(50, 60), commit=False)
    produce(topic, range(5, 12))
    with consume_rows("hf", topic, group=topic.kafka.prefix) as rows:
        assert nonces(rows, 3) == [0, 1, 2]
    with pytest.raises(ZeroDivisionError), consume_rows("hf", topic, group=topic.kafka.prefix) as rows:
        assert nonces(rows, 3) == [3, 4, 5]
        raise ZeroDivisionError  # while it is at 5
    with consume_rows("hf", topic, group=topic.kafka.prefix, from_="committed") as rows:
        assert nonces(rows, 7) == [5, 6, 7, 8, 9, 10, 11]
    with consume_rows("hf", topic, group=topic.kafka.prefix, from_="latest") as rows:
        produce(topic, range(20, 21))
        assert nonces(rows, 1) == [20]


def test_what_is_at_hand_is_not_committed_while_it_is_worked_on(topic: Settings) -> None:
    produce(topic, range(3))
    rows = consume_rows("hf", topic, group=topic.kafka.prefix)
    assert nonces(rows, 2) == [0, 1]
    rows._due = 0.0
    with pytest.MonkeyPatch.context() as patch:  # a crash: whatever closing would commit is lost
        patch.setattr(rows, "_settle", lambda: None)
        rows.close()
    with consume_rows("hf", topic, group=topic.kafka.prefix) as rows:
        assert nonces(rows, 1) == [1]


def test_from_the_latest_on(topic: Settings) -> None:
    produce(topic, range(3))
    with consume_rows("hf", topic, from_="latest") as rows:
        later = threading.Timer(1.5, produce, (topic, range(7, 9)))
        later.start()
        assert nonces(rows, 2) == [7, 8]
        later.join()


def test_members_of_a_group_share_the_rows(filled: Settings) -> None:
    expected = stored(filled, "hf")
    found: list[dict[str, Any]] = []
    group = uuid.uuid4().hex
    subscriptions = [consume_rows("hf", filled, group=group) for _ in range(2)]
    threads = [threading.Thread(target=lambda one=one: found.extend(one)) for one in subscriptions]
    for thread in threads:
        thread.start()
    eventually(lambda: len(found) >= len(expected), seconds=30)
    for one in subscriptions:
        one.close()
    for thread in threads:
        thread.join(10)
        assert not thread.is_alive()
    assert counted(found) == counted(expected)


def test_closing_ends_who_waits(topic: Settings) -> None:
    rows = consume_rows("hf", topic)
    threading.Timer(0.5, rows.close).start()
    started = time.monotonic()
    assert list(rows) == []
    assert time.monotonic() - started < 5
    rows.close()
    assert list(rows) == []


def test_another_version_of_the_columns_is_refused_with_its_place(topic: Settings) -> None:
    produce(topic, range(2))
    produce(topic, range(2, 3), schema=b"99")
    with consume_rows("hf", topic) as rows:
        assert nonces(rows, 2) == [0, 1]
        with pytest.raises(DataError, match="columns are of version 99") as refused:
            next(rows)
    assert refused.value.where == f"{Names(topic.kafka.prefix).hf}[0]@3"


def test_rows_that_were_deleted_are_missed(topic: Settings) -> None:
    produce(topic, range(5))
    with consume_rows("hf", topic, group=topic.kafka.prefix) as rows:
        assert nonces(rows, 1) == [0]
    client = admin(topic.kafka)
    for answer in client.delete_records([TopicPartition(Names(topic.kafka.prefix).hf, 0, 4)]).values():
        answer.result(10)
    with (
        consume_rows("hf", topic, group=topic.kafka.prefix) as rows,
        pytest.raises(DataError, match="deleted from the topic before they were read"),
    ):
        next(rows)


def test_what_cannot_be(settings: Settings) -> None:
    with pytest.raises(UsageError, match="is no stream"):
        consume_rows("trades", settings)  # type: ignore[call-overload]
    with pytest.raises(UsageError, match="cannot be"):
        consume_rows("hf", settings, from_="committed")
    with pytest.raises(BrokerError) as missing:
        consume_rows("hf", settings)
    assert "topics apply" in missing.value.hint
    make_topics(settings, partitions=1)
    with (
        consume_rows("hf", settings, group=settings.kafka.prefix, from_="committed") as rows,
        pytest.raises(UsageError, match="has committed nothing to go on from"),
    ):
        next(rows)


def test_the_package_of_kafka_loads_nothing_until_a_name_is_used() -> None:
    program = (
        "import sys, streamproc.kafka; assert not {'confluent_kafka', 'pyarrow', 'pydantic'} & set(sys.modules); "
        "from streamproc.kafka import consume_rows; assert callable(consume_rows); "
        "assert not hasattr(streamproc.kafka, 'no_such_name')"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)


@pytest.mark.parametrize("place", [0, 1])
def test_the_programs_of_the_documentation_print_rows(place: int, filled: Settings, tmp_path: Path) -> None:
    page = (ROOT / "docs" / "subscribe.md").read_text(encoding="utf-8")
    program = [block.text for block in blocks(page) if block.language == "python"][place]
    names = Names(filled.kafka.prefix)
    for shown, here in (
        ("localhost:9092", filled.kafka.bootstrap_servers),
        ("streamproc.hf", names.hf),
        ("my-", f"{names.prefix}-"),
    ):
        program = program.replace(shown, here)
    environment = {"STREAMPROC_KAFKA__PREFIX": names.prefix, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(
        [sys.executable, "-u", "-c", program], cwd=tmp_path, env=environment, stdout=subprocess.PIPE, text=True
    ) as running:
        assert running.stdout is not None
        printed = [running.stdout.readline() for _ in range(3)]
        running.kill()
    prices = {row["mid_price"] for row in stored(filled, "hf")}
    assert all(float(line.split()[-1]) in prices for line in printed)
