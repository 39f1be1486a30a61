"""Which files make up a table at one moment, also while `compact` swaps them or after it was cut short."""

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from streamproc.errors import DataError
from streamproc.parquet.footer import unreadable
from streamproc.parquet.manifest import Manifest, ever_compacted, listing, read_manifests
from streamproc.parquet.partition import values_of


@dataclass(frozen=True)
class DataFile:
    """A file of a table with the values that its folders say."""

    path: Path
    name: str
    """Relative to the table's folder, with `/`."""
    exchange: str
    symbol: str | None
    """None when the symbol is a column of the file."""
    date: str

    @property
    def order(self) -> tuple[str, str, str, list[str | int]]:
        """Files in this order give the rows of a symbol in the order of commits."""
        return self.exchange, self.symbol or "", self.date, natural(self.path.name)


def natural(name: str) -> list[str | int]:
    """Sort key that takes runs of digits as numbers."""
    parts = re.split(r"([0-9]+)", name)
    return [int(part) if i % 2 else part for i, part in enumerate(parts)]


def list_files(table: Path) -> list[DataFile]:
    """The files that count, in the order of `DataFile.order`.

    Of a compaction that is under way either the inputs or the output count. Names that begin with `_` or `.` are
    skipped.

    Raises
    ------
    DataError : there is no such folder, or a file lies outside the partitions.
    """
    _require_table(table)
    while True:
        settled = ever_compacted(table)
        try:
            with listing(table):
                names = [str(name) for name in _walk(table, PurePosixPath())]
                manifests = read_manifests(table)
        except PermissionError as error:
            raise unreadable(Path(error.filename or table), error) from error
        if settled or not ever_compacted(table):
            break  # else the first compaction began meanwhile, and nothing kept it from swapping files
    return sorted((_data_file(table, name) for name in _counting(names, manifests)), key=lambda file: file.order)


def _require_table(table: Path) -> None:
    if not table.is_dir():
        raise DataError("no such folder", where=str(table), hint="give the folder hf or bars of an output")
    inner = [name for name in ("hf", "bars") if (table / name).is_dir()]
    if inner:
        choices = " or ".join(str(table / name) for name in inner)
        raise DataError("this is an output with several tables", where=str(table), hint=f"give {choices}")
    if "=" in table.name:
        raise DataError(
            "this is one partition of a table", where=str(table), hint="give the table's folder and filter by arguments"
        )


def _walk(folder: Path, below: PurePosixPath) -> Iterator[PurePosixPath]:
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith(("_", ".")):
                continue
            if entry.is_dir():
                yield from _walk(folder / entry.name, below / entry.name)
            elif entry.name.endswith(".parquet"):
                yield below / entry.name


def _counting(names: list[str], manifests: list[Manifest]) -> set[str]:
    counting = set(names)
    for manifest in manifests:
        if manifest.output is None or manifest.output in counting:
            counting.difference_update(manifest.inputs)
    return counting


def _data_file(table: Path, name: str) -> DataFile:
    path = table / name
    try:
        values = values_of(PurePosixPath(name).parent)
        return DataFile(path, name, values["exchange"], values.get("symbol"), values["date"])
    except (KeyError, UnicodeDecodeError) as error:
        raise DataError(
            "a file outside the partitions exchange=.../date=...",
            where=str(path),
            hint="give the folder hf or bars of an output, and keep other files out of it",
        ) from error
