"""One event as one line of NDJSON, in the form in which CCXT delivers it."""

import json
from typing import Any, NamedTuple

import numpy as np

from streamproc.jit import part
from streamproc.simulate.book import ASKS, BIDS, HIDDEN_LEVELS, I64, MAX_FILLS
from streamproc.simulate.draws import Int
from streamproc.simulate.listing import Instrument
from streamproc.simulate.text import Bytes, put_datetime, put_decimal, put_integer, put_phrase

_COMMON = (
    '],"asks":[',
    '],"timestamp":',
    ',"datetime":"',
    '","nonce":',
    "null",
    '{"id":"',
    '","timestamp":',
    '"buy"',
    '"sell"',
    ',"takerOrMaker":null,"price":',
    ',"amount":',
    ',"cost":',
    '],"collected_at":',
    "}",
    "}\n",
)
# numba compiles a function anew for each plain constant it is called with, and once for all numpy ones.
_ASKS, _BOOK_TIME, _DATETIME, _NONCE, _NULL, _TRADE_ID, _TRADE_TIME, _BUY, _SELL, _PRICE, _AMOUNT, _COST = (
    np.int64(number) for number in range(12)
)
_TRADES_END, _OBJECT_END, _LINE_END = np.int64(12), np.int64(13), np.int64(14)
_BOOK_HEAD, _BOOK_TAIL, _TRADES_HEAD, _TRADE_SYMBOL = 0, 1, 2, 3
_OWN_PHRASES = 4
_SHARED = len(_COMMON)

_COMMA, _OPEN, _CLOSE = ord(","), ord("["), ord("]")

_PAIR_BYTES, _FILL_BYTES, _ENVELOPE_BYTES = 48, 320, 512


class Phrases(NamedTuple):
    """Texts between the numbers: phrase n is text[ends[n]:ends[n + 1]]; first the common ones, then four a symbol."""

    text: Bytes
    ends: I64


def phrases(listed: list[Instrument]) -> Phrases:
    """The phrases of these instruments."""
    parts = [part.encode() for part in _COMMON]
    for one in listed:
        exchange, symbol = json.dumps(one.exchange.name), json.dumps(one.symbol)
        envelope = f'"exchange":{exchange},"symbol":{symbol},"data":'
        parts += [
            f'{{"type":"orderbook",{envelope}{{"bids":['.encode(),
            f',"symbol":{symbol}}},"collected_at":'.encode(),
            f'{{"type":"trades",{envelope}['.encode(),
            f'","symbol":{symbol},"order":null,"type":null,"side":'.encode(),
        ]
    ends = np.concatenate(([0], np.cumsum([len(part) for part in parts])))
    return Phrases(np.frombuffer(b"".join(parts), dtype=np.uint8).copy(), ends.astype(np.int64))


def line_room(levels: int) -> int:
    """Bytes that no line exceeds."""
    return _ENVELOPE_BYTES + max(2 * levels * _PAIR_BYTES, MAX_FILLS * _FILL_BYTES)


@part
def write_side(books: Any, symbol: Int, side: Int, out: Bytes, at: Int) -> Int:
    """The shown levels of one side, `[price,size]` by `[price,size]`."""
    term = books.terms[symbol]
    price_decimals, size_decimals = term.price_decimals, term.size_decimals
    prices, sizes = books.prices[symbol, side], books.sizes[symbol, side]
    for i in range(min(books.depth[symbol, side], len(prices) - HIDDEN_LEVELS)):
        if i:
            out[at] = _COMMA
            at += 1
        out[at] = _OPEN
        at = put_decimal(out, at + 1, prices[i], price_decimals)
        out[at] = _COMMA
        at = put_decimal(out, at + 1, sizes[i], size_decimals)
        out[at] = _CLOSE
        at += 1
    return at


@part
def write_book(books: Any, symbol: Int, words: Any, out: Bytes, at: Int, time_ms: Int, arrival_ms: Int) -> Int:
    """An order book message; returns the end of its line."""
    text, ends = words.text, words.ends
    own = _SHARED + _OWN_PHRASES * symbol
    at = put_phrase(out, at, text, ends, own + _BOOK_HEAD)
    at = write_side(books, symbol, BIDS, out, at)
    at = put_phrase(out, at, text, ends, _ASKS)
    at = write_side(books, symbol, ASKS, out, at)
    at = put_phrase(out, at, text, ends, _BOOK_TIME)
    at = put_integer(out, at, time_ms)
    at = put_phrase(out, at, text, ends, _DATETIME)
    at = put_datetime(out, at, time_ms)
    at = put_phrase(out, at, text, ends, _NONCE)
    if books.terms[symbol].has_nonce:
        at = put_integer(out, at, books.states[symbol].nonce)
    else:
        at = put_phrase(out, at, text, ends, _NULL)
    at = put_phrase(out, at, text, ends, own + _BOOK_TAIL)
    at = put_integer(out, at, arrival_ms)
    return put_phrase(out, at, text, ends, _LINE_END)


@part
def write_trades(
    books: Any,
    symbol: Int,
    words: Any,
    fills: Any,
    signed_count: Int,
    out: Bytes,
    at: Int,
    time_ms: Int,
    arrival_ms: Int,
) -> Int:
    """A trades message with one trade a fill; returns the end of its line."""
    text, ends = words.text, words.ends
    own = _SHARED + _OWN_PHRASES * symbol
    term, state = books.terms[symbol], books.states[symbol]
    at = put_phrase(out, at, text, ends, own + _TRADES_HEAD)
    for i in range(abs(signed_count)):
        if i:
            out[at] = _COMMA
            at += 1
        state.trade_id += 1
        at = put_phrase(out, at, text, ends, _TRADE_ID)
        at = put_integer(out, at, state.trade_id)
        at = put_phrase(out, at, text, ends, _TRADE_TIME)
        at = put_integer(out, at, time_ms)
        at = put_phrase(out, at, text, ends, _DATETIME)
        at = put_datetime(out, at, time_ms)
        at = put_phrase(out, at, text, ends, own + _TRADE_SYMBOL)
        at = put_phrase(out, at, text, ends, _BUY if signed_count > 0 else _SELL)
        at = put_phrase(out, at, text, ends, _PRICE)
        at = put_decimal(out, at, fills.prices[i], term.price_decimals)
        at = put_phrase(out, at, text, ends, _AMOUNT)
        at = put_decimal(out, at, fills.lots[i], term.size_decimals)
        at = put_phrase(out, at, text, ends, _COST)
        at = put_decimal(out, at, fills.prices[i] * fills.lots[i], term.price_decimals + term.size_decimals)
        at = put_phrase(out, at, text, ends, _OBJECT_END)
    at = put_phrase(out, at, text, ends, _TRADES_END)
    at = put_integer(out, at, arrival_ms)
    return put_phrase(out, at, text, ends, _LINE_END)
