"""What each command must be allowed on the topics: the one list of it, and the check before the work begins.

What is needed beside that, on groups and transactional ids, the brokers tell only when it is used.
"""

from collections.abc import Collection, Mapping
from types import MappingProxyType

from confluent_kafka import KafkaError, KafkaException, TopicCollection
from confluent_kafka.admin import AdminClient

from streamproc.config import KafkaConfig
from streamproc.errors import StreamprocError

Needed = Mapping[str, Collection[str]]
"""Rights by a topic's role. Read and Write include Describe."""

PUBLISH: Needed = MappingProxyType({"raw": ("Write",), "publish": ("Read", "Write")})
PROCESS: Needed = MappingProxyType(
    {"raw": ("Read",), "hf": ("Write",), "bars": ("Write",), "dlq": ("Write",), "state": ("Read", "Write")}
)
SINK: Needed = MappingProxyType({"hf": ("Read",), "bars": ("Read",), "dlq": ("Read",)})
REPLAY: Needed = MappingProxyType({"raw": ("Read",), "state": ("Read",)})
STATUS: Needed = MappingProxyType(
    {
        "raw": ("Read",),
        "hf": ("Describe",),
        "bars": ("Describe",),
        "dlq": ("Read",),
        "state": ("Read",),
        "publish": ("Describe",),
    }
)


class RightsError(StreamprocError):
    """Rights on topics that this user lacks: all of them at once."""

    def __init__(self, missing: Collection[str], where: str) -> None:
        lines = "\n".join(("this user lacks rights that are needed:", *(f"  {one}" for one in missing)))
        super().__init__(lines, where=where, hint="have them granted: docs/security.md lists those of each command")
        self.args = (missing, where)
        self.missing = tuple(missing)


def check_rights(client: AdminClient, kafka: KafkaConfig, needed: Needed) -> None:
    """See that this user has the rights, as far as brokers tell: some do not, and refuse later.

    Raises `RightsError` with all that are missing.
    """
    wanted = {f"{kafka.prefix}.{role}": rights for role, rights in needed.items()}
    answers = client.describe_topics(TopicCollection([*wanted]), include_authorized_operations=True)
    missing = []
    for topic, rights in wanted.items():
        try:
            allowed = {operation.name for operation in answers[topic].result().authorized_operations or ()}
        except KafkaException as error:
            if error.args[0].code() != KafkaError.TOPIC_AUTHORIZATION_FAILED:
                continue  # told by who looks at the topic for its sake
            allowed = {""}
        missing += [f"{right} on topic {topic}" for right in rights if allowed and right.upper() not in allowed]
    if missing:
        raise RightsError(missing, kafka.bootstrap_servers)
