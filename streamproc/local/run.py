"""`run`: recorded files into features and bars, in one go or going on where an earlier run ended."""

import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from streamproc.config import Settings, StateConfig
from streamproc.engine.kernels import process
from streamproc.errors import UsageError
from streamproc.jit import is_compiled
from streamproc.local.feed import Feed
from streamproc.local.inputs import Source, expand, identity
from streamproc.local.oneshot import OneShot
from streamproc.local.session import Session, open_session
from streamproc.local.sources import Position
from streamproc.local.work import Work
from streamproc.local.workers import hire
from streamproc.observe.progress import Progress, QuietProgress
from streamproc.observe.stop import StopRequest

COMMIT_BYTES = 4 << 30
"""A run with a state commits each time it has read so much: a crash costs no more than the work on that."""


@dataclass(frozen=True)
class Run:
    """What is asked of a run, wherever its output goes."""

    sources: Sequence[Source]
    settings: Settings
    flush: bool
    workers: int
    merge: bool
    progress: Progress
    stop: StopRequest
    clock: Callable[[], float]

    def once(self, output: Path, *, overwrite: bool) -> dict[str, Any]:
        """Into an output of its own, visible at the end."""
        with closing(OneShot(output, overwrite=overwrite)) as target:
            with closing(Work(hire(self.workers, self.settings, target.staging.path, target.stem, ()), target)) as work:
                feed = self._feed([Position(source) for source in self.sources], hashing=False, last=True)
                summary = self._through(work, feed, lambda: None)
                work.finish()
            target.publish()
        return summary

    def going_on(self, state: Path, output: Path, *, overwrite: bool, fresh: bool) -> dict[str, Any]:
        """From where the state stands."""
        with open_session(
            state, output, self.settings, workers=self.workers, overwrite=overwrite, fresh=fresh
        ) as session:
            return self._with_session(session)

    def _with_session(self, session: Session) -> dict[str, Any]:
        positions = [place for source in self.sources if (place := session.ledger.position(source)) is not None]
        feed = self._feed(positions, hashing=True, last=self.flush)
        committed_bytes = 0

        def commit_when_due() -> None:
            nonlocal committed_bytes
            if feed.disk_bytes - committed_bytes >= COMMIT_BYTES:
                committed_bytes = feed.disk_bytes
                session.commit(feed.given())

        summary = self._through(session.work, feed, commit_when_due)
        session.commit(feed.given())
        return summary | {"files_taken_in_before": len(self.sources) - len(positions)}

    def _feed(self, positions: Sequence[Position], *, hashing: bool, last: bool) -> Feed:
        return Feed(
            positions,
            merge=self.merge,
            chunk_bytes=self.settings.local.chunk_bytes,
            hashing=hashing,
            last=last,
            stop=self.stop,
        )

    def _through(self, work: Work, feed: Feed, after_chunk: Callable[[], None]) -> dict[str, Any]:
        """All chunks through the crew, and the flush where it is asked for; the summary."""
        started = self.clock()
        sizes = [identity(source.path).size for source in self.sources if source.fd is None]
        self.progress.start(sum(sizes) if len(sizes) == len(self.sources) else None)
        read_bytes = 0
        chunks = feed.chunks()
        while not (cut := self.stop.requested) and (chunk := next(chunks, None)) is not None:
            work.take(chunk)
            self.progress.advance(feed.disk_bytes - read_bytes, chunk.lines)
            read_bytes = feed.disk_bytes
            after_chunk()
        cut = cut or feed.cut_short
        if self.flush and not cut:
            work.flush()
        for warning in feed.warnings:
            self.progress.warn(warning)
        summary = work.summary(self.clock() - started) | {"warnings": feed.warnings}
        return summary | {"interrupted": True} if cut else summary


def run_files(
    inputs: Sequence[str],
    output: Path,
    settings: Settings,
    *,
    state: Path | None,
    flush: bool,
    workers: int,
    merge: bool,
    overwrite: bool,
    fresh: bool,
    progress: Progress,
    stop: StopRequest,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, Any]:
    """Process files, directories, globs or `-` into an output folder; the summary of what was done.

    Raises `UsageError` for inputs or an output that cannot be used, `StateError` for a state that cannot, `DataError`
    for files that cannot
    be read or written. Bad records are counted and kept.
    """
    if state is None and fresh:
        raise UsageError("--fresh is about a state, and none is given", hint="give --state, or leave --fresh out")
    sources = expand(inputs)
    if not is_compiled(process):
        progress.note("compiling kernels for this machine: takes up to half a minute, once")
    run = Run(sources, settings, flush, workers, merge, progress, stop, clock)
    if state is None:
        return run.once(output, overwrite=overwrite)
    return run.going_on(state, output, overwrite=overwrite, fresh=fresh)


def process_files(
    inputs: Sequence[str],
    output: str | Path,
    config: StateConfig | None = None,
    *,
    settings: Settings | None = None,
    state: str | Path | None = None,
    flush: bool = True,
    workers: int = 1,
    merge: bool = False,
    overwrite: bool = False,
) -> dict[str, Any]:
    """`streamproc run` for notebooks: files in, Parquet under `output`, the summary back.

    `config` is a shorter way to give `settings` whose other sections are the defaults. Errors as `run_files`.
    """
    settings = settings or Settings()
    if config is not None:
        settings = settings.model_copy(update={"state": config})
    return run_files(
        inputs,
        Path(output),
        settings,
        state=None if state is None else Path(state),
        flush=flush,
        workers=workers,
        merge=merge,
        overwrite=overwrite,
        fresh=False,
        progress=QuietProgress(),
        stop=StopRequest(),
    )
