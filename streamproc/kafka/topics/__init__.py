"""The six topics: what their settings must be, the files that ask for them, and what the brokers have."""

from streamproc.kafka.topics.apply import apply, rehearse
from streamproc.kafka.topics.check import check_topics
from streamproc.kafka.topics.files import default_folder, read_files, with_replication
from streamproc.kafka.topics.plan import Change, plan
from streamproc.kafka.topics.rules import ROLES, Topic

__all__ = [
    "ROLES",
    "Change",
    "Topic",
    "apply",
    "check_topics",
    "default_folder",
    "plan",
    "read_files",
    "rehearse",
    "with_replication",
]
