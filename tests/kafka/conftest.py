"""The broker that the tests of this folder talk to, and names of their own for each test."""

import os
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from streamproc.config import KafkaConfig, Settings, StateConfig
from tests.broker import QUICK, Broker


@pytest.fixture(scope="session")
def bootstrap(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of a real broker: a given one, one in a container where an engine answers, else one of our own."""
    given = os.environ.get("STREAMPROC_TEST_BOOTSTRAP")
    if given:
        yield given
        return
    if Path("/var/run/docker.sock").exists() or os.environ.get("DOCKER_HOST"):
        from testcontainers.kafka import KafkaContainer

        container = KafkaContainer("apache/kafka:4.1.1").with_kraft()
        for name, value in QUICK.items():
            container.with_env("KAFKA_" + name.upper().replace(".", "_"), value)
        with container:
            yield container.get_bootstrap_server()
        return
    broker = Broker(tmp_path_factory.mktemp("kafka"), properties=QUICK)
    broker.start()
    try:
        yield broker.bootstrap_servers
    finally:
        broker.stop()


@pytest.fixture
def settings(bootstrap: str) -> Settings:
    """Settings with topics, groups and transactional ids of the test's own."""
    return Settings(
        kafka=KafkaConfig(bootstrap_servers=bootstrap, prefix=f"t{uuid.uuid4().hex[:10]}"),
        state=StateConfig(bar_idle_close=None),
    )
