"""Delta Lake tables as `read` sees them, and how delta-rs is told of an object store."""

from collections.abc import Iterable, Mapping

from deltalake import DeltaTable
from deltalake.exceptions import DeltaError

from streamproc.errors import DataError
from streamproc.parquet.objects import ObjectPath, TablePath, store_error

LOG = "_delta_log"
FAULTS = (DeltaError, OSError, ValueError)
"""What calls of deltalake raise."""

RETRY = {"max_retries": "12", "retry_timeout": "60s"}


def is_delta(names: Iterable[str]) -> bool:
    """Whether a table that holds these names is one of Delta Lake."""
    return any(name == LOG or name.startswith(f"{LOG}/") for name in names)


def delta_options(storage: Mapping[str, str]) -> dict[str, str]:
    """Options of an object store as delta-rs takes them, which are those that obstore takes."""
    return RETRY | dict(storage)


def delta_names(table: TablePath) -> list[str]:
    """Names, relative to the table's folder, of the files that its log names."""
    options = delta_options(table.options) if isinstance(table, ObjectPath) else None
    try:
        paths = DeltaTable(str(table), storage_options=options).file_uris()
    except FAULTS as error:
        raise store_error(error, str(table)) from None
    return [_below(path) for path in paths]


def _below(path: str) -> str:
    """The part of a file's path that begins with the folder of its exchange."""
    at = path.rfind("/exchange=")
    if at < 0:
        raise DataError(
            "a file outside the partitions exchange=.../date=...",
            where=path,
            hint="give the folder hf or bars of an output, and keep other files out of it",
        )
    return path[at + 1 :]
