"""What every command that uses topics does first: see that they are there and as they must be."""

import logging
from collections.abc import Collection, Mapping

from confluent_kafka.admin import AdminClient

from streamproc.config import KafkaConfig
from streamproc.errors import StreamprocError
from streamproc.kafka.rights import Needed, check_rights
from streamproc.kafka.topics.cluster import read_topics
from streamproc.kafka.topics.files import SHIPPED, read_files, with_replication
from streamproc.kafka.topics.rules import ROLES, Breach, Topic, breaches

_logger = logging.getLogger("streamproc.kafka")


class TopicsError(StreamprocError):
    """Topics that are missing, or whose settings are not what they must be: all of them at once."""

    def __init__(self, faults: Collection[str], where: str, hint: str) -> None:
        super().__init__("\n".join(("the topics are not as they must be:", *faults)), where=where, hint=hint)
        self.args = (faults, where, hint)
        self.faults = tuple(faults)


def check_topics(client: AdminClient, kafka: KafkaConfig, needed: Collection[str] | Needed) -> dict[str, Topic]:
    """The topics as the brokers have them, once they are found to be as they must be.

    Where their settings may not be read, that is said, and they are taken to be those of the files that ship.

    Parameters
    ----------
    client : of the cluster.
    kafka : the settings' section, for the prefix.
    needed : roles of the topics that the command uses, such as `{"raw", "state"}`, or with the rights that it needs.

    Returns
    -------
    Topics by role: `name`, `id`, `partitions`, `max_message_bytes`, `config`.

    Raises
    ------
    RightsError : with every right that is missing, as far as rights are given.
    TopicsError : with every topic and setting that is wrong, its value, the wanted one and what to do.
    BrokerError : where the brokers do not answer or permit.
    """
    if isinstance(needed, Mapping):
        check_rights(client, kafka, needed)
    names = {role: f"{kafka.prefix}.{role}" for role in sorted(needed, key=ROLES.index)}
    found = _with_assumed_settings(read_topics(client, names), kafka)
    faults = [f"  {name} does not exist" for role, name in names.items() if role not in found]
    broken = list(breaches(found))
    faults += [f"  {found[breach.role].name}: {_told(breach)}" for breach in broken]
    if faults:
        raise TopicsError(faults, kafka.bootstrap_servers, _hint(broken))
    return found


def _with_assumed_settings(found: Mapping[str, Topic], kafka: KafkaConfig) -> dict[str, Topic]:
    unread = [role for role, topic in found.items() if not topic.config]
    if not unread:
        return dict(found)
    _logger.warning(
        "the settings of %s may not be read, and are taken to be right: grant this user DescribeConfigs on them",
        ", ".join(found[role].name for role in unread),
    )
    shipped = read_files(SHIPPED, kafka.prefix)
    assumed = {role: with_replication(shipped, found[role].replicas)[role].config for role in unread}
    return {role: topic._replace(config=assumed.get(role, topic.config)) for role, topic in found.items()}


def _told(breach: Breach) -> str:
    found = "is missing" if breach.value is None else f"is {breach.value}"
    return f"{breach.setting} {found}, must be {breach.wanted}: {breach.why}"


def _hint(broken: Collection[Breach]) -> str:
    if any(breach.setting == "partitions" for breach in broken):
        return "`streamproc topics plan` shows whether partitions can be added, and what to do where they cannot"
    return "`streamproc topics apply` creates what is missing and corrects settings, or ask who administers the topics"
