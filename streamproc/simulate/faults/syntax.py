"""Lines that are no JSON or unusual JSON, and lines that are no records."""

import json
from collections.abc import Callable
from functools import partial

from streamproc.simulate.faults.fault import (
    BOOK_ACCEPTED,
    MALFORMED,
    NO_RECORD,
    Fault,
    Ordinary,
    Outcome,
    Record,
    book_fault,
    encode,
    envelope,
    verbatim,
)
from streamproc.simulate.stream import BOOK

BYTE_ORDER_MARK = b"\xef\xbb\xbf"

_DEEP_ENOUGH, _TOO_DEEP, _FAR_TOO_DEEP = 64, 1_002, 20_000
"""Levels of nesting, the record's own object among them; the second is over 1,000 with and without that."""

_BAD_TOKENS = {
    "nan": "NaN",
    "infinity": "Infinity",
    "minus_infinity": "-Infinity",
    "number_beyond_double": "1e400",
    "number_below_double": "-1e400",
    "number_leading_zero": "061855.36",
    "number_plus": "+1.5",
    "number_trailing_point": "1.",
    "number_no_leading_digit": ".5",
    "number_hexadecimal": "0x10",
    "number_two_points": "1.5.5",
    "literal_unknown": "None",
    "value_missing": "",
}
"""What stands where a size should be."""

_BAD_STRINGS = {
    "lone_high_surrogate": '"\\ud800"',
    "lone_low_surrogate": '"a\\udc00b"',
    "surrogates_swapped": '"\\udc00\\ud800"',
    "utf8_invalid_byte": '"\udcff"',
    "utf8_truncated": '"\udce2\udc82"',
    "utf8_overlong": '"\udcc0\udcaf"',
    "utf8_surrogate": '"\udced\udca0\udc80"',
    "control_character": '"\x01"',
    "escape_unknown": '"\\x41"',
    "escape_truncated": '"\\u12"',
    "string_in_single_quotes": "'a'",
}
"""What stands where a string should be, under a key that nobody asked for."""

_NO_OBJECTS = {
    "line_array": b"[]",
    "line_string": b'"orderbook"',
    "line_number": b"17",
    "line_null": b"null",
    "line_true": b"true",
    "line_words": b"Connection reset by peer",
    "line_nul_bytes": b"\x00\x00\x00\x00",
    "line_opening_brace": b"{",
}

_BLANK_LINES = {
    "blank_line": b"",
    "blank_line_of_spaces": b"   ",
    "blank_line_of_tabs": b"\t \t",
    "blank_line_crlf": b"\r",
}


def _around(name: str, change: Callable[[bytes], bytes], outcome: Outcome) -> Fault:
    """A fresh book whose text as a whole is changed."""
    return Fault(name, BOOK, outcome, lambda line: change(encode(line.fresh_book())))


def _instead(text: bytes, _line: Ordinary) -> bytes:
    return text


def _bad_size(token: str) -> Callable[[Record], None]:
    def edit(record: Record) -> None:
        record["data"]["bids"][0][1] = verbatim(token)

    return edit


def _nested(depth: int) -> str:
    """Arrays in arrays: `depth` levels with the record's own object."""
    return verbatim("[" * (depth - 1) + "]" * (depth - 1))


def _spaced(text: bytes) -> bytes:
    record = json.loads(text)
    return b" \t" + json.dumps(record, separators=(" ,\t", " : ")).encode() + b"  "


SYNTAX_FAULTS = (
    *(book_fault(f"token_{form}", _bad_size(token), MALFORMED) for form, token in _BAD_TOKENS.items()),
    *(book_fault(form, envelope(note=verbatim(text)), MALFORMED) for form, text in _BAD_STRINGS.items()),
    book_fault("unused_number_beyond_double", envelope(note=verbatim("1e999")), MALFORMED),
    book_fault("unused_nan", envelope(note=verbatim("NaN")), MALFORMED),
    book_fault("nesting_of_64", envelope(note=_nested(_DEEP_ENOUGH)), BOOK_ACCEPTED),
    book_fault("nesting_of_over_1000", envelope(note=_nested(_TOO_DEEP)), MALFORMED),
    book_fault("nesting_of_20000", envelope(note=_nested(_FAR_TOO_DEEP)), MALFORMED),
    *(Fault(form, BOOK, MALFORMED, partial(_instead, text)) for form, text in _NO_OBJECTS.items()),
    _around("line_truncated", lambda text: text[: len(text) // 2], MALFORMED),
    _around("line_without_last_brace", lambda text: text[:-1], MALFORMED),
    _around("line_with_two_objects", lambda text: text + text, MALFORMED),
    _around("line_with_trailing_comma", lambda text: text[:-1] + b",}", MALFORMED),
    _around("line_with_comment", lambda text: text + b" // best bid", MALFORMED),
    _around("line_in_single_quotes", lambda text: text.replace(b'"', b"'"), MALFORMED),
    _around("line_end_crlf", lambda text: text + b"\r", BOOK_ACCEPTED),
    _around("whitespace", _spaced, BOOK_ACCEPTED),
    *(Fault(form, BOOK, NO_RECORD, partial(_instead, text)) for form, text in _BLANK_LINES.items()),
)
