"""The six topics for a test, made as `streamproc topics apply` makes them."""

from streamproc.config import Settings
from streamproc.kafka.client import admin
from streamproc.kafka.names import Names
from streamproc.kafka.topics import apply, read_files, with_replication
from streamproc.kafka.topics.files import SHIPPED
from streamproc.kafka.topics.rules import Topic


def wanted_topics(settings: Settings, partitions: int = 4) -> dict[str, Topic]:
    """What the shipped files ask for, for one broker, and with so many partitions (publish: one)."""
    shipped = with_replication(read_files(SHIPPED, settings.kafka.prefix), 1)
    return {
        role: topic if role == "publish" else topic._replace(partitions=partitions) for role, topic in shipped.items()
    }


def make_topics(settings: Settings, partitions: int = 4) -> Names:
    """Make the topics under the settings' prefix; their names."""
    apply(admin(settings.kafka), wanted_topics(settings, partitions))
    return Names(settings.kafka.prefix)
