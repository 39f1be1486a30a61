"""What the topics, groups and transactions are called: all begin with `kafka.prefix`, so that one grant covers them."""

from typing import NamedTuple

STREAMS = ("hf", "bars")
"""Streams of rows; each has a topic of its name."""


class Names(NamedTuple):
    """Names under one prefix."""

    prefix: str

    @property
    def raw(self) -> str:
        return f"{self.prefix}.raw"

    @property
    def hf(self) -> str:
        return f"{self.prefix}.hf"

    @property
    def bars(self) -> str:
        return f"{self.prefix}.bars"

    @property
    def dlq(self) -> str:
        return f"{self.prefix}.dlq"

    @property
    def state(self) -> str:
        return f"{self.prefix}.state"

    @property
    def publish(self) -> str:
        return f"{self.prefix}.publish"

    @property
    def all(self) -> tuple[str, ...]:
        """All topics."""
        return self.raw, self.hf, self.bars, self.dlq, self.state, self.publish

    @property
    def process_group(self) -> str:
        """Consumer group of the members."""
        return f"{self.prefix}.process"

    @property
    def sink_group(self) -> str:
        """Consumer group of the sinks."""
        return f"{self.prefix}.sink"

    def transaction(self, role: str, member: str) -> str:
        """Transactional id of a publisher or member: its restart has the same, and so fences what it left behind."""
        return f"{self.prefix}.{role}.{member}"
