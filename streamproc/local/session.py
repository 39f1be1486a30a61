"""Work with a state: opened under its checks, committed, and gone on with."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from streamproc.config import Settings
from streamproc.errors import StateError, UsageError
from streamproc.local.feed import Given
from streamproc.local.journal import Journal
from streamproc.local.ledger import Ledger
from streamproc.local.oneshot import refuse_rows, remove_rows
from streamproc.local.work import Work
from streamproc.local.workers import hire
from streamproc.store import RocksStore


class Session:
    """A crew, its journal, and what is taken in."""

    def __init__(self, work: Work, journal: Journal, ledger: Ledger) -> None:
        self.work = work
        self.ledger = ledger
        self._journal = journal

    def commit(self, given: list[Given]) -> None:
        """Make rows, state and the positions that were given out durable, all or nothing.

        Nothing when nothing changed.
        """
        pending = self.work.finish()
        for position, before, complete in given:
            self.ledger.advance(position, before, complete)
        files = self.ledger.changes()
        changes = list(self.work.crew.changes())
        if pending or files or any(change.puts or change.deletes for change in changes):
            self._journal.commit(pending, changes, files)
            self.work.begin()


@contextmanager
def open_session(
    state: Path, output: Path, settings: Settings, *, workers: int, overwrite: bool, fresh: bool
) -> Iterator[Session]:
    """Open a state and the output it belongs to, with `workers` processes.

    `fresh` drops the state that is there, `overwrite` the rows; both are refused where that would leave one without
    the other.
    """
    if _holds_state(state):
        if overwrite and not fresh:
            raise UsageError(
                "--overwrite would replace the rows that this state goes on from",
                where=str(state),
                hint="leave it out, or start afresh with --fresh --overwrite",
            )
        if fresh and not overwrite:
            refuse_rows(output)
        if fresh:
            shutil.rmtree(state)
    if overwrite:
        remove_rows(output)
    store = RocksStore(state)
    try:
        journal = Journal(store, output, settings)
        try:
            work = Work(hire(workers, settings, journal.staging.path, journal.stem, journal.symbols()), journal)
            try:
                yield Session(work, journal, Ledger(journal.files()))
            finally:
                work.close()
        finally:
            journal.close()
    except StateError as error:
        error.where = error.where or str(state)
        raise
    finally:
        store.close()


def _holds_state(state: Path) -> bool:
    if state.is_dir() and any(state.iterdir()) and not (state / "CURRENT").exists():
        raise UsageError(
            "the folder holds something else than a state", where=str(state), hint="choose an empty or a new folder"
        )
    if state.exists() and not state.is_dir():
        raise UsageError("the state is no folder", where=str(state), hint="choose another name for it")
    return (state / "CURRENT").exists()
