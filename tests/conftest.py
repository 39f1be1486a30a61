"""What all tests share: runs that repeat, and no settings from the environment of whoever runs them."""

import os

import pytest
from hypothesis import settings

settings.register_profile("repeatable", derandomize=True, deadline=None, database=None, print_blob=True)
settings.load_profile("repeatable")


@pytest.fixture(autouse=True)
def _own_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in os.environ:
        if name.startswith("STREAMPROC_") and not name.startswith(("STREAMPROC_CACHE_DIR", "STREAMPROC_TEST_")):
            monkeypatch.delenv(name)
