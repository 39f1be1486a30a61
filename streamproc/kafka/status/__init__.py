"""What the members and the topics are doing, seen from outside: looked at once, or again and again."""

from streamproc.kafka.status.look import Looker, PartitionStatus, SinkStatus, Status
from streamproc.kafka.status.repeat import status, watch
from streamproc.kafka.status.show import as_object, as_tables

__all__ = ["Looker", "PartitionStatus", "SinkStatus", "Status", "as_object", "as_tables", "status", "watch"]
