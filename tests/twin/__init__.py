"""The slow, plain twin of the engine: every column straight from its definition, nothing incremental.

It keeps every event of a symbol for ever and reads each window, each bar and each share of time from those lists. It
was written from the feature specification alone, never from the engine, so that agreement of the two means something.
"Section" in its comments is a section of that specification ("What the numbers mean").
"""

from .columns import bar_columns, hf_columns
from .compare import compare_rows, compare_streams
from .engine import Twin
from .records import RejectError, read_record
from .settings import Settings

__all__ = [
    "RejectError",
    "Settings",
    "Twin",
    "bar_columns",
    "compare_rows",
    "compare_streams",
    "hf_columns",
    "read_record",
]
