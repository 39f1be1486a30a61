"""The demo: a made-up market, its features and bars in the terminal, and how to open the files."""

import importlib.util
import json
import os
import shlex
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from streamproc.config import Settings
from streamproc.local.run import run_files
from streamproc.observe.progress import Progress
from streamproc.observe.stop import StopRequest
from streamproc.parquet.reader import read
from streamproc.schema import shortest
from streamproc.simulate import Market, simulate

MARKET = Market(symbols=3, seconds=120, levels=20, rate_hz=10.0, seed=1)
BARS_SHOWN = 2
NARROWEST = 80

Row = dict[str, Any]
Cell = Callable[[Row], str]


@dataclass(frozen=True)
class Demo:
    """What the demo made: the summary of its run, and where the files lie."""

    settings: Settings
    market: Path
    output: Path
    summary: dict[str, Any]

    def show(self) -> None:
        """Print the newest feature row and bars of each symbol, and how to open the files, on stdout."""
        console = Console()
        console.width = max(console.width, NARROWEST)
        console.print(self._features())
        console.print(self._bars())
        for line in self._files():
            console.print(line, markup=False, highlight=False, soft_wrap=True)

    def _features(self) -> Table:
        horizon = shortest(self.settings.state.horizons[-1])
        cells: dict[str, Cell] = {
            "symbol": _symbol,
            "time": lambda row: _clock(row["timestamp"]),
            "mid": _number("mid_price", "{:.8g}"),
            "spread\nbps": lambda row: f"{1e4 * row['relative_spread']:.2f}",
            "imbal.\nL1": _number("imbalance_L1", "{:+.2f}"),
            f"OFI\n{horizon} s": _number(f"ofi_{horizon}s", "{:+.5g}"),
            f"volat.\n{horizon} s": _number(f"realized_vol_{horizon}s", "{:.2e}"),
            f"volume\n{horizon} s": _number(f"trade_vol_{horizon}s", "{:.6g}"),
        }
        return _table("The newest feature row of each symbol", cells, self._newest("hf", 1))

    def _bars(self) -> Table:
        duration = self.settings.state.bar_durations[-1]
        cells: dict[str, Cell] = {
            "symbol": _symbol,
            "from": lambda row: _clock(row["timestamp"]),
            **{name: _number(name, "{:.8g}") for name in ("open", "high", "low", "close")},
            "volume": _number("volume", "{:.6g}"),
            "books": _number("count", "{:,}"),
        }
        rows = self._newest("bars", BARS_SHOWN, lambda row: row["duration"] == duration)
        return _table(f"The newest bars of {shortest(duration)} s", cells, rows)

    def _newest(self, stream: str, count: int, wanted: Callable[[Row], bool] = bool) -> list[Row]:
        rows = sorted(filter(wanted, read(self.output / stream).to_pylist()), key=lambda row: row["timestamp"])
        of_symbol: dict[str, list[Row]] = {}
        for row in rows:
            of_symbol.setdefault(_symbol(row), []).append(row)
        return [row for name in sorted(of_symbol) for row in of_symbol[name][-count:]]

    def _files(self) -> Iterator[str]:
        yield f"\nThe market as it came:  {self.market}"
        for stream in ("hf", "bars"):
            yield f"{'Feature rows' if stream == 'hf' else 'Bars'}, Parquet:".ljust(24) + str(self.output / stream)
        yield "\nOpen them (paste a line):\n"
        for package, code in open_commands(self.output).items():
            yield f"  {_python()} -c {shlex.quote(code)}"
            if importlib.util.find_spec(package) is None:
                yield f"      (needs {package}: {_python()} -m pip install {package})"


def run_demo(settings: Settings, output: Path, *, progress: Progress, stop: StopRequest) -> Demo:
    """Simulate two minutes of three symbols into ``output``/market.ndjson and run them into ``output``/output.

    Both are replaced if there; nothing else in the folder is touched.
    """
    output.mkdir(parents=True, exist_ok=True)
    demo = Demo(settings, output / "market.ndjson", output / "output", {})
    with demo.market.open("wb") as file:
        simulate(MARKET, file)
    summary = run_files(
        [str(demo.market)],
        demo.output,
        settings,
        state=None,
        flush=True,
        workers=1,
        merge=False,
        overwrite=True,
        fresh=False,
        progress=progress,
        stop=stop,
    )
    return Demo(settings, demo.market, demo.output, summary)


def open_commands(output: Path) -> dict[str, str]:
    """A line of Python for each package that reads the files."""
    hf, bars = (json.dumps(str(output / stream)) for stream in ("hf", "bars"))
    hf_files, bar_files = (json.dumps(str(output / stream / "**" / "*.parquet")) for stream in ("hf", "bars"))
    bar_columns = "symbol, bar_end, duration, close, volume, realized_variance"
    return {
        "duckdb": f"import duckdb; print(duckdb.read_parquet({bar_files}, hive_partitioning=True)"
        f'.select("{bar_columns}").order("bar_end DESC").limit(6))',
        "pandas": f"import pandas; print(pandas.read_parquet({bars})"
        '.query("duration == duration.max()")[["symbol", "bar_end", "open", "close", "volume"]])',
        "polars": f"import polars; print(polars.scan_parquet({hf_files}, hive_partitioning=True)"
        '.group_by("symbol").agg(polars.len(), polars.col("spread").mean()).collect())',
        "streamproc": f"import streamproc; print(streamproc.read({hf}).schema)",
    }


def _python() -> str:
    inside = Path(sys.executable).is_relative_to(Path.cwd())
    return shlex.quote(os.path.relpath(sys.executable) if inside else sys.executable)


def _symbol(row: Row) -> str:
    return f"{row['exchange']} {row['symbol']}"


def _clock(time: datetime) -> str:
    return f"{time:%H:%M:%S}"


def _number(column: str, form: str) -> Cell:
    return lambda row: "-" if row[column] is None else form.format(row[column])


def _table(title: str, cells: dict[str, Cell], rows: list[Row]) -> Table:
    table = Table(title=f"\n{title}", title_justify="left", title_style="bold", box=None, padding=(0, 1, 0, 0))
    for name in cells:
        table.add_column(name, justify="left" if name == "symbol" else "right", no_wrap=True)
    for row in rows:
        table.add_row(*(cell(row) for cell in cells.values()))
    return table
