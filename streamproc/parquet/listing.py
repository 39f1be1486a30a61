"""Which files make up a table at one moment, also while `compact` swaps them or after it was cut short."""

import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from streamproc.errors import DataError
from streamproc.parquet.delta import delta_names, is_delta
from streamproc.parquet.footer import unreadable
from streamproc.parquet.manifest import Manifest, ever_compacted, listing, read_manifests
from streamproc.parquet.objects import ObjectPath, TablePath
from streamproc.parquet.partition import values_of

TABLES = ("hf", "bars")


@dataclass(frozen=True)
class DataFile:
    """A file of a table with the values that its folders say."""

    path: TablePath
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


def list_files(table: TablePath) -> list[DataFile]:
    """The files that count, in the order of `DataFile.order`.

    Of a compaction that is under way either the inputs or the output count; of a Delta table what its log names.
    Names that begin with `_` or `.` are skipped.

    Raises
    ------
    DataError : there is no such folder, or a file lies outside the partitions.
    """
    names = _names_in_store(table) if isinstance(table, ObjectPath) else _names_in_folder(table)
    return sorted((_data_file(table, name) for name in names), key=lambda file: file.order)


def _names_in_store(table: ObjectPath) -> Iterable[str]:
    keys = table.keys()
    if is_delta(keys):
        return delta_names(table)
    inner = [name for name in TABLES if any(key.startswith(f"{name}/") for key in keys)]
    _require_one_table(table, inner)
    return [key for key in keys if key.endswith(".parquet") and not re.search(r"(?:^|/)[_.]", key)]


def _names_in_folder(table: Path) -> Iterable[str]:
    _require_table(table)
    if is_delta(os.listdir(table)):
        return delta_names(table)
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
    return _counting(names, manifests)


def _require_table(table: Path) -> None:
    if not table.is_dir():
        raise DataError("no such folder", where=str(table), hint="give the folder hf or bars of an output")
    _require_one_table(table, [name for name in TABLES if (table / name).is_dir()])


def _require_one_table(table: TablePath, inner: list[str]) -> None:
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


def _data_file(table: TablePath, name: str) -> DataFile:
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
