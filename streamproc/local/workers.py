"""Several pipelines in processes of their own."""

from collections.abc import Iterable
from pathlib import Path

from streamproc.config import Settings
from streamproc.local.crew import Alone, Crew
from streamproc.local.pipeline import Pipeline


def hire(workers: int, settings: Settings, staging: Path, stem: str, state: Iterable[tuple[bytes, bytes]]) -> Crew:
    """A crew of `workers` pipelines that stage under `staging` and go on from `state`."""
    pipeline = Pipeline(settings, staging, stem)
    pipeline.restore(state)
    return Alone(pipeline)
