"""Which of Kafka's protocols a group's consumers speak: the broker's own (KIP-848), or the classic one before it."""

from collections.abc import Mapping
from typing import Any, Literal

from confluent_kafka import KafkaError

_UNKNOWN = KafkaError(KafkaError.UNSUPPORTED_VERSION).str()
"""Within the text of a fatal error, whose code no longer tells it."""

_PROPERTIES: Mapping[str, Mapping[str, Any]] = {
    "consumer": {"group.protocol": "consumer"},
    "classic": {"partition.assignment.strategy": "cooperative-sticky", "session.timeout.ms": 10_000},
}


class GroupProtocol:
    """The protocol of one consumer.

    Parameters
    ----------
    wanted : `auto` is `consumer`, until brokers turn out not to have it.
    """

    def __init__(self, wanted: Literal["auto", "consumer", "classic"]) -> None:
        self._may_fall_back = wanted == "auto"
        self._spoken = "consumer" if wanted == "auto" else wanted

    @property
    def properties(self) -> Mapping[str, Any]:
        """The consumer's properties."""
        return _PROPERTIES[self._spoken]

    def falls_back(self, error: KafkaError) -> bool:
        """Whether an error says that brokers lack the protocol, and another consumer is to speak the classic one."""
        if not self._may_fall_back or error.code() != KafkaError._FATAL or _UNKNOWN not in error.str():
            return False
        self._may_fall_back = False
        self._spoken = "classic"
        return True
