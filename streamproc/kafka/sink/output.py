"""What an output of sinks is: its mark, so that no other rows come among theirs."""

from pathlib import Path

import orjson

from streamproc.config import SinkConfig
from streamproc.errors import UsageError
from streamproc.kafka.sink.storage import Storage
from streamproc.local.journal import has_rows

MARK = "_commits/_output.json"


def claim(output: Path, storage: Storage, sink: SinkConfig) -> None:
    """Make the output one of sinks, or see that it is one and of the same partitioning.

    Raises `UsageError` where it holds rows of something else, or folders of another partitioning.
    """
    wanted = [*sink.partition_by]
    if storage.read(MARK) is None:
        if has_rows(output):
            raise UsageError(
                "the output already holds rows that no sink has written",
                where=str(output),
                hint="choose another output",
            )
        storage.create(MARK, orjson.dumps({"partition_by": wanted}))
    made = orjson.loads(storage.read(MARK) or b"{}").get("partition_by")
    if made != wanted:
        raise UsageError(
            f"the output's folders were made by sink.partition_by {made}, not {wanted}",
            where=str(output),
            hint="give the partitioning it was begun with, or choose another output",
        )
