"""Members, sinks and subscribers share partitions where brokers have only the classic protocol."""

from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import pytest

from streamproc.config import KafkaConfig, Settings, StateConfig
from streamproc.kafka import consume_rows
from streamproc.kafka.client import BrokerError
from streamproc.simulate import Market
from tests.broker import QUICK
from tests.kafka.against_run import lines_of, run_on
from tests.kafka.brokers import running_broker
from tests.kafka.groups import committed, eventually, fill_raw, rows_of_run, running_member, with_process
from tests.kafka.sinks import hints_reach_the_end, running_sink, with_sink
from tests.kafka.topics import make_topics
from tests.outputs import assert_same


@pytest.fixture(scope="module")
def old_broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    properties = QUICK | {"group.coordinator.rebalance.protocols": "classic"}
    with running_broker(tmp_path_factory.mktemp("kafka"), properties) as broker:
        yield broker.bootstrap_servers


@pytest.fixture
def old(old_broker: str) -> Settings:
    return Settings(
        kafka=KafkaConfig(bootstrap_servers=old_broker, prefix="old"), state=StateConfig(bar_idle_close=None)
    )


def test_auto_speaks_what_the_brokers_know(old: Settings, tmp_path: Path) -> None:
    lines = lines_of(Market(symbols=3, seconds=20, levels=5))
    output = run_on(lines, old, tmp_path / "run")
    make_topics(old)
    fill_raw(old, lines)
    mine = with_sink(with_process(old, tmp_path / "state"), max_age=0.3, idle=0.3)
    with running_member(mine), running_sink(mine, tmp_path / "out"):
        eventually(lambda: committed(old) == len(lines))
        eventually(lambda: hints_reach_the_end(old))
    assert_same(tmp_path / "out", output)
    wanted = rows_of_run(output, "hf").total()
    with consume_rows("hf", group="downstream", settings=old) as rows:
        assert len([*islice(rows, wanted)]) == wanted


def test_a_protocol_that_was_asked_for_and_is_unknown_is_told(old: Settings, tmp_path: Path) -> None:
    make_topics(old)
    with (
        pytest.raises(BrokerError, match="ConsumerGroupHeartbeat"),
        running_member(with_process(old, tmp_path / "state", group_protocol="consumer")) as running,
    ):
        raise running.fails()
