"""What sinks write to: a folder or an object store, marked as theirs, and how partitions commit there."""

from collections.abc import Callable
from pathlib import Path

import orjson

from streamproc.config import Settings, SinkConfig
from streamproc.errors import DataError, UsageError
from streamproc.kafka.sink.chain import Chain
from streamproc.kafka.sink.local import LocalStorage
from streamproc.kafka.sink.objects import ObjectStorage
from streamproc.kafka.sink.segment import Commits, Source
from streamproc.kafka.sink.storage import Storage
from streamproc.local.journal import STREAMS
from streamproc.parquet.objects import FILE_SCHEME, is_address, local_folder, open_store
from streamproc.schema import Stream

MARK = "_commits/_output.json"
_BEFORE_THERE_WERE_FORMATS = {"format": "parquet"}

Committing = Callable[[str, Source], Commits]
"""Gives the commits of a topic-partition, by the topic's role."""


def opened(address: str, settings: Settings) -> Committing:
    """Open an output and make it one of sinks, or see that it is one and made in the same way.

    Parameters
    ----------
    address : a folder, or `s3://BUCKET/PREFIX` and its like.

    Raises
    ------
    UsageError : it cannot be opened, does not keep one from writing over another, or holds rows of something else.
    DataError : it does not answer, or refuses what a sink must do.
    """
    place = str(local_folder(address)) if address.startswith(FILE_SCHEME) else address.rstrip("/")
    storage = _storage(place, settings.sink)
    claim(place, storage, settings.sink)
    if settings.sink.format == "parquet":
        return lambda role, source: Chain(storage, source)
    return _delta(place, storage, settings)


def claim(place: str, storage: Storage, sink: SinkConfig) -> None:
    """Mark the output as one of sinks, with its format and partitioning, or see that these are those of its mark.

    Raises `UsageError` where it holds rows of something else, or of another format or partitioning.
    """
    wanted = {"partition_by": [*sink.partition_by], "format": sink.format}
    if storage.read(MARK) is None:
        if any(storage.names(stream) for stream in STREAMS):
            raise UsageError(
                "the output already holds rows that no sink has written", where=place, hint="choose another output"
            )
        storage.create(MARK, orjson.dumps(wanted))
    made = _BEFORE_THERE_WERE_FORMATS | _mark(place, storage.read(MARK) or b"{}")
    if made.get("partition_by") != wanted["partition_by"]:
        raise UsageError(
            f"the output's folders were made by sink.partition_by {made.get('partition_by')}, "
            f"not {wanted['partition_by']}",
            where=place,
            hint="give the partitioning it was begun with, or choose another output",
        )
    if made["format"] != sink.format:
        raise UsageError(
            f"the output was begun with sink.format {made['format']}, not {sink.format}",
            where=place,
            hint="give the format it was begun with, or choose another output",
        )


def _mark(place: str, content: bytes) -> dict[str, object]:
    try:
        return dict(orjson.loads(content))
    except (ValueError, TypeError) as error:
        raise DataError(
            "a damaged record of the sink's commits", where=f"{place}/{MARK}", hint="restore the output from a backup"
        ) from error


def _storage(place: str, sink: SinkConfig) -> Storage:
    if not is_address(place):
        return LocalStorage(Path(place))
    storage = ObjectStorage(open_store(place, sink.storage), place)
    storage.check()
    return storage


def _delta(place: str, storage: Storage, settings: Settings) -> Committing:
    """Tables for rows; dead letters are lines in files all the same."""
    from streamproc.kafka.sink.delta import DeltaCommits, Table

    streams: tuple[Stream, ...] = ("hf", "bars")
    tables = {str(stream): Table(place, stream, settings.state, settings.sink) for stream in streams}

    def committing(role: str, source: Source) -> Commits:
        return DeltaCommits(storage, source, tables[role]) if role in tables else Chain(storage, source)

    return committing
