"""The broker that the tests of this folder talk to, and names of their own for each test."""

import fcntl
import os
import signal
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import orjson
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
    with shared_broker(tmp_path_factory) as servers:
        yield servers


@contextmanager
def shared_broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A broker for all processes that run tests at the same time: the first starts it, the last stops it."""
    here = tmp_path_factory.getbasetemp()
    folder = here.parent if "PYTEST_XDIST_WORKER" in os.environ else here
    with locked(folder):
        users = folder / "broker-users"
        users.mkdir(exist_ok=True)
        (users / str(os.getpid())).touch()
        if not (folder / "broker.json").exists():
            broker = Broker(folder / "kafka", properties=QUICK)
            broker.start()
            (folder / "broker.json").write_text(orjson.dumps([broker.bootstrap_servers, broker.pid]).decode())
        servers, pid = orjson.loads((folder / "broker.json").read_bytes())
    try:
        yield servers
    finally:
        with locked(folder):
            (users / str(os.getpid())).unlink()
            if not any(users.iterdir()):
                os.kill(pid, signal.SIGTERM)
                (folder / "broker.json").unlink()


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """One process at a time."""
    with (folder / "lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


@pytest.fixture
def settings(bootstrap: str) -> Settings:
    """Settings with topics, groups and transactional ids of the test's own."""
    return Settings(
        kafka=KafkaConfig(bootstrap_servers=bootstrap, prefix=f"t{uuid.uuid4().hex[:10]}"),
        state=StateConfig(bar_idle_close=None),
    )
