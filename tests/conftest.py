"""What all tests share: runs that repeat, and no settings from the environment of whoever runs them."""

import os
import tempfile
from pathlib import Path

import pytest
from hypothesis import settings

settings.register_profile("repeatable", derandomize=True, deadline=None, database=None, print_blob=True)
settings.load_profile("repeatable")


@pytest.fixture(autouse=True)
def _own_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in os.environ:
        if name.startswith("STREAMPROC_") and not name.startswith(("STREAMPROC_CACHE_DIR", "STREAMPROC_TEST_")):
            monkeypatch.delenv(name)


def pytest_configure(config: pytest.Config) -> None:
    """Compile the kernels once, before several workers would each do it at the same time."""
    if not hasattr(config, "workerinput") and not config.option.collectonly:
        _compile_kernels()


def _compile_kernels() -> None:
    from streamproc import process_files
    from streamproc.simulate import Market, generate

    with tempfile.TemporaryDirectory() as folder:
        inputs = [Path(folder, name) for name in ("a.ndjson", "b.ndjson")]
        for seed, path in enumerate(inputs):
            path.write_bytes(b"".join(generate(Market(symbols=2, seconds=3, levels=3, seed=seed))))
        for workers in (1, 2):
            process_files(
                [*map(str, inputs)],
                Path(folder, f"out-{workers}"),
                state=Path(folder, f"state-{workers}"),
                merge=True,
                workers=workers,
            )
