"""`compact`: merge the small files of each partition into one, and drop what a replay has replaced.

One partition is done after the other, in steps that `read` and the next `compact` understand at any point:

1. the output is written under `_compact/`, durably;
2. the manifest is written durably: from here on the output will replace its inputs;
3. the output is moved to its place, the inputs are deleted;
4. the manifest is deleted.

A file that appears meanwhile is in no manifest and stays. The name of a merged file never comes back: a commit
publishes each of its files once (`publish`), and the names of outputs are new.
"""

import os
import re
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

import pyarrow as pa
import pyarrow.parquet as pq

from streamproc.config import Settings, SinkConfig
from streamproc.crash import crash_point
from streamproc.errors import DataError, UsageError
from streamproc.parquet.delta import is_delta
from streamproc.parquet.files import cannot_write, fsync
from streamproc.parquet.footer import Footer, read_footer, unreadable
from streamproc.parquet.generations import Generations
from streamproc.parquet.listing import DataFile, list_files
from streamproc.parquet.manifest import FOLDER, Manifest, compacting, read_manifests, swapping
from streamproc.parquet.merge import SortedFile, merge

TABLES = ("hf", "bars")
_ADDRESS = re.compile(r"\w+:/")
"""What is left of `s3://` in a path."""
_COMPACTED = re.compile(r"(?P<stem>.*)-compacted-(?P<time>[0-9]+)")


def compact(directory: Path, settings: Settings) -> dict[str, int]:
    """Merge the files of each partition of an output, or of one of its tables.

    Each partition becomes one file (one for each configuration it was written under), without superseded
    rows. A partition that is so already is left alone. May run beside `run`, `watch` and `read`.

    Parameters
    ----------
    directory : `OUTPUT`, `OUTPUT/hf` or `OUTPUT/bars`.
    settings : `sink.row_group_rows` and `sink.compression_level` are those of the new files.

    Returns
    -------
    Counts: `partitions` seen, `merged` of them, `files_before`, `files_after`, `rows` that remain and `superseded_rows`
    that were dropped.

    Raises
    ------
    DataError : no output here, a damaged file, no room, or another compaction at work. What was merged by then stays.
    """
    counts = dict.fromkeys(("partitions", "merged", "files_before", "files_after", "rows", "superseded_rows"), 0)
    for table in _tables(directory):
        with compacting(table):
            _finish_interrupted(table)
            for name, count in _compact_table(table, settings.sink).items():
                counts[name] += count
    return counts


def _tables(directory: Path) -> list[Path]:
    if _ADDRESS.match(str(directory)):
        raise UsageError(
            "compact works on folders",
            where=str(directory),
            hint="let the sink write larger files (sink.max_age, sink.segment_rows); `read` resolves replays alone",
        )
    tables = [directory / name for name in TABLES if (directory / name).is_dir()]
    if not tables and any(directory.glob("exchange=*")):
        tables = [directory]
    if not tables:
        raise DataError("no output here", where=str(directory), hint="give an output folder, or its folder hf or bars")
    for table in tables:
        if is_delta(os.listdir(table)):
            raise UsageError("a Delta table is compacted by its own tools", where=str(table), hint="use OPTIMIZE")
    return tables


def _compact_table(table: Path, sink: SinkConfig) -> dict[str, int]:
    footers = {file: _footer(file) for file in list_files(table)}
    generations = Generations(footers)
    groups: dict[tuple[PurePosixPath, str], list[DataFile]] = defaultdict(list)
    for file, footer in footers.items():
        groups[PurePosixPath(file.name).parent, footer.config].append(file)
    counts = {
        "partitions": len({folder for folder, _ in groups}),
        "files_before": len(footers),
        "rows": sum(footer.rows for footer in footers.values()),
    }
    merged = {group: files for group, files in groups.items() if not _is_compact(files, generations)}
    remaining = [_merge_files(table, files, footers, generations, sink) for files in merged.values()]
    merged_rows = sum(footers[file].rows for files in merged.values() for file in files)
    superseded = merged_rows - sum(remaining)
    files_after = len(footers) - sum(map(len, merged.values())) + sum(rows > 0 for rows in remaining)
    return counts | {
        "merged": len({folder for folder, _ in merged}),
        "files_after": files_after,
        "rows": counts["rows"] - superseded,
        "superseded_rows": superseded,
    }


def _footer(file: DataFile) -> Footer:
    try:
        return read_footer(file.path)
    except FileNotFoundError as error:
        raise unreadable(file.path, error) from error


def _is_compact(files: Sequence[DataFile], generations: Generations) -> bool:
    return len(files) == 1 and generations.kept_share(files[0]) == "all"


def _merge_files(
    table: Path,
    inputs: Sequence[DataFile],
    footers: dict[DataFile, Footer],
    generations: Generations,
    sink: SinkConfig,
) -> int:
    """Replace files of one partition by one file; the rows of that."""
    kept = [file for file in inputs if generations.kept_share(file) != "none"]
    manifest = Manifest(tuple(file.name for file in inputs), _output_name(inputs) if kept else None)
    rows = 0
    if kept:
        staged = manifest.staged(table)
        filters = [_Survivors(file, generations) for file in kept]
        sources = [SortedFile(table / each.file.name, each) for each in filters]
        merge(sources, staged, _schema(kept[0]), sink.row_group_rows, sink.compression_level)
        rows = read_footer(staged).rows
        dropped = sum(each.dropped for each in filters)
        if rows + dropped != sum(footers[file].rows for file in kept):
            raise RuntimeError(f"{staged}: {rows} rows merged and {dropped} superseded are not those of the inputs")
        fsync(staged)
        fsync(staged.parent)
        crash_point("compact.after_output")
    with swapping(table):
        manifest.commit(table)
        crash_point("compact.after_manifest")
        _swap(table, manifest)
    return rows


class _Survivors:
    """Drops the superseded rows of one file, and counts them."""

    def __init__(self, file: DataFile, generations: Generations) -> None:
        self.file = file
        self.dropped = 0
        self._generations = generations
        self._untouched = generations.kept_share(file) == "all"

    def __call__(self, rows: pa.Table) -> pa.Table:
        if self._untouched:
            return rows
        said = {"exchange": self.file.exchange, "symbol": self.file.symbol}
        whole = rows
        for name, value in said.items():
            if name not in rows.column_names:
                whole = whole.append_column(name, pa.repeat(pa.scalar(value, pa.string()), len(rows)))
        kept = rows.filter(pa.array(self._generations.kept_rows(whole)))
        self.dropped += len(rows) - len(kept)
        return kept


def _schema(file: DataFile) -> pa.Schema:
    return pq.read_schema(file.path)


def _output_name(inputs: Sequence[DataFile]) -> str:
    """A name that was never used, and that sorts between those of the inputs and of later commits."""
    last = PurePosixPath(inputs[-1].name)
    before = _COMPACTED.fullmatch(last.stem)
    stem, time = (before["stem"], int(before["time"]) + 1) if before else (last.stem, 1)
    return str(last.with_name(f"{stem}-compacted-{time}.parquet"))


def _swap(table: Path, manifest: Manifest) -> None:
    """Put the output in place of the inputs; as far as that was done before, nothing happens."""
    folder = (table / manifest.inputs[0]).parent
    try:
        if manifest.output is not None:
            if manifest.staged(table).exists():
                manifest.staged(table).rename(table / manifest.output)
            crash_point("compact.after_rename")
            fsync(folder)
        for name in manifest.inputs:
            (table / name).unlink(missing_ok=True)
            crash_point("compact.after_delete")
        fsync(folder)
        crash_point("compact.after_swap")
        manifest.path(table).unlink()
        fsync(table / FOLDER)
        crash_point("compact.after_clear")
    except OSError as error:
        raise cannot_write(folder, error) from error


def _finish_interrupted(table: Path) -> None:
    """Roll a compaction that was cut short forward where its manifest exists, back where it does not."""
    with swapping(table):
        for manifest in read_manifests(table):
            output = manifest.output
            if output is not None and not (manifest.staged(table).exists() or (table / output).exists()):
                raise DataError(
                    "a compaction was cut short, and the file it made is gone",
                    where=str(table / output),
                    hint="restore the folder from a backup; if no file of the table is missing, "
                    f"delete {manifest.path(table)}",
                )
            _swap(table, manifest)
    for leftover in (table / FOLDER).iterdir():
        if leftover.suffix in {".pending", ".part", ".draft"}:
            leftover.unlink()
