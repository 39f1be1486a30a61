"""Brokers of a test's own: to be mistreated, or set up in another way."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from tests.broker import QUICK, Broker


@contextmanager
def running_broker(folder: Path, properties: Mapping[str, str] = QUICK) -> Iterator[Broker]:
    """A broker, stopped at the end."""
    broker = Broker(folder, properties=properties)
    broker.start()
    try:
        yield broker
    finally:
        broker.stop()
