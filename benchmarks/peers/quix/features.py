# mypy: disable-error-code="import-not-found"
"""Two Quix Streams programs as its users write them, exactly once. Run in an environment made from requirements.txt.

Arguments: bootstrap servers, consumer group, input topic, output topic, state directory, commit interval in seconds,
and which of the two: `counter` or `window`.
"""

import sys
from typing import Any

from quixstreams import Application, State

ROW_BOOKS = 10
ROW_MS = 1_000
WINDOWS_MS = (1_000, 5_000, 30_000, 60_000)
WEIGHT = 0.1

Message = dict[str, Any]
Top = list[float]


def counter(message: Message, state: State) -> Message | None:
    """One counter and one float a symbol; a row each ten books."""
    data = message["data"]
    mid = (data["bids"][0][0] + data["asks"][0][0]) / 2
    books = state.get("books", 0)
    mean = state.get("mean", mid)
    mean += WEIGHT * (mid - mean)
    state.set("books", books + 1)
    state.set("mean", mean)
    if books % ROW_BOOKS:
        return None
    return {"symbol": message["symbol"], "timestamp": data["timestamp"], "mid_price": mid, "mean": mean}


def window(message: Message, state: State) -> Message | None:
    """Mid, imbalance, OFI and its sums over four windows; a row at the first book of each second."""
    data = message["data"]
    t = data["timestamp"]
    top = [*data["bids"][0][:2], *data["asks"][0][:2]]
    ofi = order_flow(state.get("top", top), top)
    recent = [event for event in state.get("recent", []) if event[0] > t - WINDOWS_MS[-1]]
    recent.append([t, ofi])
    state.set("top", top)
    state.set("recent", recent)
    if state.get("second") == t // ROW_MS:
        return None
    state.set("second", t // ROW_MS)
    bid, bid_size, ask, ask_size = top
    return {
        "symbol": message["symbol"],
        "timestamp": t,
        "mid_price": (bid + ask) / 2,
        "imbalance_L1": (bid_size - ask_size) / (bid_size + ask_size),
        "ofi": ofi,
        **{f"ofi_{span // 1000}s": sum(e for at, e in recent if at > t - span) for span in WINDOWS_MS},
    }


def order_flow(last: Top, top: Top) -> float:
    """Order flow imbalance of one update of the best levels."""
    bid0, bid_size0, ask0, ask_size0 = last
    bid, bid_size, ask, ask_size = top
    return (
        (bid_size if bid >= bid0 else 0.0)
        - (bid_size0 if bid <= bid0 else 0.0)
        - (ask_size if ask <= ask0 else 0.0)
        + (ask_size0 if ask >= ask0 else 0.0)
    )


def main(servers: str, group: str, raw: str, out: str, folder: str, commit_s: str, which: str) -> None:
    """Run until SIGTERM."""
    app = Application(
        broker_address=servers,
        consumer_group=group,
        auto_offset_reset="earliest",
        processing_guarantee="exactly-once",
        commit_interval=float(commit_s),
        state_dir=folder,
        loglevel="WARNING",
        # librdkafka's default of a second costs a fifth of the speed.
        consumer_extra_config={"fetch.queue.backoff.ms": 5},
        producer_extra_config={"compression.type": "lz4"},
    )
    rows = app.dataframe(app.topic(raw, value_deserializer="json"))
    rows = rows.apply({"counter": counter, "window": window}[which], stateful=True)
    rows = rows.filter(lambda row: row is not None)
    rows.to_topic(app.topic(out, value_serializer="json"))
    app.run()


if __name__ == "__main__":
    main(*sys.argv[1:])
