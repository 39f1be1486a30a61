"""The program `sink`: a member of the sinks' group, and what is told of it meanwhile."""

from functools import partial
from pathlib import Path
from typing import Any

from streamproc.config import Settings
from streamproc.kafka import client, rights
from streamproc.kafka.sink.member import Sink
from streamproc.kafka.sink.output import opened
from streamproc.kafka.sink.vitals import Vitals
from streamproc.kafka.topics import check_topics
from streamproc.observe.serve import serving
from streamproc.observe.stop import StopRequest


def sink(settings: Settings, output: Path | str, stop: StopRequest) -> dict[str, Any]:
    """Write rows and dead letters of the topics into an output until stopped; what was done.

    Parameters
    ----------
    output : a folder, or the address of a place in an object store, such as `s3://BUCKET/PREFIX`.

    Raises `TopicsError` where the topics are not as they must be, `DataError` for what cannot be written or is no row,
    `BrokerError` for what Kafka refuses.
    """
    topics = partial(check_topics, client.admin(settings.kafka), settings.kafka, rights.SINK)
    topics()
    member = Sink(settings, opened(str(output), settings), topics, stop)
    with serving(settings.observe, Vitals(member, settings.kafka.prefix)):
        member.run()
    names = ("records", "hf_rows", "bars_rows", "dlq_rows", "segments", "files", "lost_segments")
    return {name: member.counts[name] for name in names}
