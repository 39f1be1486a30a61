"""The broker that the tests of this folder talk to, and names of their own for each test."""

import fcntl
import os
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from streamproc.config import KafkaConfig, Settings, StateConfig
from tests.broker import QUICK, Broker
from tests.kafka.against_run import run_on


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
    with shared_broker(tmp_path_factory, "kafka", lambda folder: Broker(folder, properties=QUICK)) as folder:
        yield (folder / "address").read_text()


@contextmanager
def shared_broker(
    tmp_path_factory: pytest.TempPathFactory, name: str, made: Callable[[Path], Broker]
) -> Iterator[Path]:
    """One broker for all processes that run tests at the same time: the first starts it, and stops it as the last.

    Gives its folder; the file `address` in it tells where it serves.
    """
    here = tmp_path_factory.getbasetemp()
    shared = here.parent if "PYTEST_XDIST_WORKER" in os.environ else here
    folder, users = shared / name, shared / f"{name}-users"
    broker = None
    with locked(shared):
        users.mkdir(exist_ok=True)
        (users / str(os.getpid())).touch()
        if not (folder / "address").exists():
            broker = made(folder)
            broker.start()
            (folder / "address").write_text(broker.bootstrap_servers)
    try:
        yield folder
    finally:
        (users / str(os.getpid())).unlink()
        if broker:
            while any(psutil.pid_exists(int(user.name)) for user in users.iterdir()):
                time.sleep(0.1)
            broker.stop()


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """One process at a time."""
    with (folder / "lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


STATE = StateConfig(bar_idle_close=None)
"""`run` knows of no idleness."""


@pytest.fixture
def settings(bootstrap: str) -> Settings:
    """Settings with topics, groups and transactional ids of the test's own."""
    return Settings(kafka=KafkaConfig(bootstrap_servers=bootstrap, prefix=f"t{uuid.uuid4().hex[:10]}"), state=STATE)


@pytest.fixture(scope="module")
def run_output(lines: list[bytes], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `run` makes of the module's `lines` under the state of `settings`."""
    return run_on(lines, Settings(state=STATE), tmp_path_factory.mktemp("run"))
