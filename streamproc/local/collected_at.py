"""The receive time of raw lines, read from their bytes without parsing them: what inputs are merged by.

Of a line that is a JSON object the last `collected_at` at its top level counts, as for the parser. Where the bytes do
not settle that, the line is parsed.
"""

from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from streamproc.jit import kernel, load_u8, load_u64
from streamproc.local.sources import NEWLINE, NO_KEY
from streamproc.parse.ccxt import time_ms
from streamproc.parse.record import MAX_TIME

_UNSURE = NO_KEY + 1
_MAX_DIGITS = 13  # those of MAX_TIME
_MAX_DECIMALS = 3  # so few cannot round the double up to the next ms

_NAME = b"collected_at"
_NAME_BYTES = len(_NAME)
_NAME_HEAD = int.from_bytes(_NAME[:8], "little")
_NAME_TAIL = int.from_bytes(_NAME[4:], "little")  # overlaps the head by half
_NULL = int.from_bytes(b"null", "little")

_BLANKS = (9, 13, 32)  # a newline ends the line
_QUOTE, _COMMA, _POINT, _ZERO, _NINE, _COLON = 34, 44, 46, 48, 57, 58
_OPEN_LIST, _BACKSLASH, _CLOSE_LIST, _OPEN_MAP, _CLOSE_MAP = 91, 92, 93, 123, 125


def line_times(data: NDArray[np.uint8], size: int, lines: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Bounds of the lines, and the `collected_at` of each in ms, `NO_KEY` where it has none.

    Line i is data[bounds[i]:bounds[i + 1]], its newline included.

    Parameters
    ----------
    data : bytes; the first `size` of them are `lines` whole lines.
    """
    bounds = np.zeros(lines + 1, np.int64)
    times = np.empty(lines, np.int64)
    if _scan_lines(data, size, bounds, times):
        for index in np.flatnonzero(times == _UNSURE).tolist():
            times[index] = _parsed_time(data[bounds[index] : bounds[index + 1]].tobytes())
    return bounds, times


def _parsed_time(line: bytes) -> int:
    try:
        record = orjson.loads(line)
    except orjson.JSONDecodeError:
        return NO_KEY
    time = time_ms(record.get("collected_at")) if isinstance(record, dict) else None
    return NO_KEY if time is None else time


@kernel
def _scan_lines(data: Any, size: int, bounds: Any, times: Any) -> int:
    """Fill `bounds` and `times`; the number of lines that must be parsed (`_UNSURE`)."""
    unsure = 0
    line = 0
    start = 0
    while start < size:
        newline = _newline(data, start, size)
        time = _last_member_time(data, start, newline)
        if time == _UNSURE:
            time = _top_level_time(data, start, newline)
            unsure += time == _UNSURE
        times[line] = time
        line += 1
        bounds[line] = start = newline + 1
    return unsure


@kernel
def _newline(data: Any, i: int, size: int) -> int:
    """Place of the next newline from i on, of which there is one."""
    while i + 64 <= size:
        found = 0
        for k in range(64):  # of fixed length and without an exit, so that it is vectorised
            found += load_u8(data, i + k) == NEWLINE
        if found:
            break
        i += 64
    while load_u8(data, i) != NEWLINE:
        i += 1
    return i


@kernel
def _last_member_time(data: Any, start: int, end: int) -> int:
    """The time when `collected_at` is the object's last member, read from the line's end; else `_UNSURE`.

    In a JSON object the last brace closes the top level, and a quote after a comma or brace begins a string, since one
    within a string has a backslash before it. So what matches here is the member that counts, whatever precedes it.
    """
    i = _blanks_before(data, start, end)
    if _byte_before(data, start, i) != _CLOSE_MAP:
        return _UNSURE
    last = _blanks_before(data, start, i - 1)
    quoted = _byte_before(data, start, last) == _QUOTE
    last -= quoted
    first = last
    while _is_digit_or_point(_byte_before(data, start, first)):
        first -= 1
    if quoted and _byte_before(data, start, first) != _QUOTE:
        return _UNSURE
    i = _blanks_before(data, start, first - quoted)
    if _byte_before(data, start, i) != _COLON:
        return _UNSURE
    i = _blanks_before(data, start, i - 1)
    if i - start < _NAME_BYTES + 3 or not _is_name(data, i - _NAME_BYTES - 2, i - 1):
        return _UNSURE
    before = _byte_before(data, start, _blanks_before(data, start, i - _NAME_BYTES - 2))
    if before not in (_COMMA, _OPEN_MAP):
        return _UNSURE
    return _time(data, first, last)


@kernel
def _top_level_time(data: Any, start: int, end: int) -> int:
    """The time by a walk over the whole line: `NO_KEY` for what has none, `_UNSURE` where its spelling is unusual."""
    i = _blanks_after(data, start)
    if load_u8(data, i) != _OPEN_MAP:
        return NO_KEY
    time = NO_KEY
    depth = 0
    while i < end:
        c: int = load_u8(data, i)
        if c == _QUOTE:
            close, escaped = _string_end(data, i + 1, end)
            colon = _blanks_after(data, close + 1) if close < end else end
            if depth == 1 and load_u8(data, colon) == _COLON:
                if escaped:
                    return _UNSURE
                if _is_name(data, i, close):
                    time = _value_time(data, _blanks_after(data, colon + 1))
                    if time == _UNSURE:
                        return _UNSURE
            i = close
        elif c in (_OPEN_MAP, _OPEN_LIST):
            depth += 1
        elif c in (_CLOSE_MAP, _CLOSE_LIST):
            depth -= 1
            if depth == 0:
                return time if _blanks_after(data, i + 1) == end else NO_KEY
        i += 1
    return NO_KEY


@kernel
def _string_end(data: Any, i: int, end: int) -> tuple[int, bool]:
    """Place of the closing quote of the string that begins at i (none: `end` or beyond), and whether it has escapes."""
    escaped = False
    while i < end:
        c: int = load_u8(data, i)
        if c == _QUOTE:
            break
        if c == _BACKSLASH:
            escaped = True
            i += 1
        i += 1
    return i, escaped


@kernel
def _is_name(data: Any, opening: int, closing: int) -> bool:
    """Whether the string between two quotes is `collected_at`."""
    if closing - opening - 1 != _NAME_BYTES or load_u8(data, opening) != _QUOTE or load_u8(data, closing) != _QUOTE:
        return False
    return load_u64(data, opening + 1) == _NAME_HEAD and load_u64(data, closing - 8) == _NAME_TAIL


@kernel
def _value_time(data: Any, i: int) -> int:
    quoted: int = load_u8(data, i) == _QUOTE
    first = i + quoted
    last = first
    while _is_digit_or_point(load_u8(data, last)):
        last += 1
    after = load_u8(data, last)
    if quoted:
        return _time(data, first, last) if after == _QUOTE else _UNSURE
    ended = after in (_COMMA, _CLOSE_MAP) or after in _BLANKS
    return _time(data, first, last) if ended else _UNSURE


@kernel
def _time(data: Any, first: int, last: int) -> int:
    """The ms of the number in [first, last), which holds digits and points alone; `_UNSURE` beyond the ordinary."""
    if first == last or load_u8(data, first) == _ZERO:
        return _UNSURE
    time = 0
    i = first
    while i < last and load_u8(data, i) != _POINT:
        if i - first == _MAX_DIGITS:
            return _UNSURE
        time = time * 10 + load_u8(data, i) - _ZERO
        i += 1
    decimals = last - i - 1
    if decimals == 0 or decimals > _MAX_DECIMALS:
        return _UNSURE
    for k in range(i + 1, last):
        if load_u8(data, k) == _POINT:
            return _UNSURE
    return time if 0 < time < MAX_TIME else _UNSURE


@kernel
def _byte_before(data: Any, start: int, i: int) -> int:
    return load_u8(data, i - 1) if i > start else 0


@kernel
def _blanks_before(data: Any, start: int, i: int) -> int:
    """The place behind the last byte before i that is no JSON blank."""
    c = _byte_before(data, start, i)
    while c in _BLANKS:
        i -= 1
        c = _byte_before(data, start, i)
    return i


@kernel
def _blanks_after(data: Any, i: int) -> int:
    """The first place from i on that holds no JSON blank; the line's newline counts as none."""
    while load_u8(data, i) in _BLANKS:
        i += 1
    return i


@kernel
def _is_digit_or_point(c: int) -> bool:
    return _ZERO <= c <= _NINE or c == _POINT
