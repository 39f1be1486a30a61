"""The program `process`: a member, and what is told of it meanwhile."""

import time
from pathlib import Path
from typing import Any

from streamproc.config import Settings
from streamproc.kafka import client, rights
from streamproc.kafka.process.identity import Home
from streamproc.kafka.process.member import Member
from streamproc.kafka.process.takeover import Input
from streamproc.kafka.process.vitals import Vitals
from streamproc.kafka.topics import check_topics
from streamproc.observe.serve import serving
from streamproc.observe.stop import StopRequest


def process(settings: Settings, stop: StopRequest) -> dict[str, Any]:
    """Be a member of the group until stopped; what was done.

    Raises `TopicsError` where the topics are not as they must be, `StateError` for a state that cannot be gone on from,
    `BrokerError` for what Kafka refuses.
    """
    started = time.monotonic()
    admin = client.admin(settings.kafka)
    topics = check_topics(admin, settings.kafka, rights.PROCESS)
    raw, state = topics["raw"], topics["state"]
    largest = max(topic.max_message_bytes for topic in topics.values())
    home = Home(Path(settings.process.state), settings.process.member_id)
    try:
        input_ = Input(raw.partitions, raw.id, state.id, state.deletions_ms, largest)
        member = Member(settings, admin, input_, home, stop)
        with serving(settings.observe, Vitals(member, home.folder, settings.observe.stale_symbols)):
            member.run()
    finally:
        home.close()
    return {"member_id": home.member_id, **member.counts, "seconds": round(time.monotonic() - started, 3)}
