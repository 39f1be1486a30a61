"""Names of partition folders, as Hive has them: `exchange=binance/symbol=BTC%2FUSDT/date=2024-08-09`.

Values are percent-encoded (RFC 3986, all but letters, digits and `-._~`), which pyarrow, pandas, polars, DuckDB and
Spark all undo. So a value can neither leave its folder nor look like another's.
"""

import datetime
from collections.abc import Mapping
from pathlib import PurePosixPath
from urllib.parse import quote, unquote

MS_PER_DAY = 86_400_000
_HIVE_NULL = "__HIVE_DEFAULT_PARTITION__"


def encode_value(value: str) -> str:
    """A partition value as it stands in a folder's name."""
    encoded = quote(value, safe="")
    return encoded.replace("_", "%5F") if value == _HIVE_NULL else encoded


def decode_value(encoded: str) -> str:
    """The inverse of `encode_value`; UnicodeDecodeError when the bytes behind the percent signs are no UTF-8."""
    return unquote(encoded, errors="strict")


def folder(values: Mapping[str, str]) -> PurePosixPath:
    """Folder of the partition with these values, in their order."""
    return PurePosixPath(*(f"{key}={encode_value(value)}" for key, value in values.items()))


def values_of(path: PurePosixPath) -> dict[str, str]:
    """Values of all partition keys in a path's folders, always text (also for a symbol `123`)."""
    pairs = (part.partition("=") for part in path.parts)
    return {key: decode_value(value) for key, equals, value in pairs if equals}


def date_of_day(day: int) -> str:
    """`date` of a count of days since 1970-01-01 UTC."""
    return (datetime.date(1970, 1, 1) + datetime.timedelta(days=day)).isoformat()
