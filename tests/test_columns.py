"""Docs, Arrow schema, JSON Schema and rows tell the same columns, and they are those of the definitions."""

import json
import re
from collections.abc import Iterator
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import jsonschema  # type: ignore[import-untyped]
import pyarrow as pa
import pytest

from streamproc import Processor, StateConfig
from streamproc.schema import Stream, arrow_schema, columns, json_schema, reference, shortest
from streamproc.simulate import Market, generate
from tests.twin import Settings as TwinSettings
from tests.twin import bar_columns, hf_columns

PAGE = (Path(__file__).parent.parent / "docs" / "columns.md").read_text(encoding="utf-8")
STREAMS: tuple[Stream, ...] = ("hf", "bars")
CONFIGS: dict[str, dict[str, Any]] = {
    "default": {},
    "small": {
        "horizons": (0.5,),
        "bar_durations": (10.0,),
        "bands_bps": (2.5,),
        "max_levels": 1,
        "regime_window": 0.25,
    },
    "large": {"horizons": (1.0, 7.5, 3600.0), "bands_bps": (1.0, 2.0, 100.0), "max_levels": 25, "regime_window": 90.0},
}
ARROW_OF_DOCS = {
    "double": pa.float64(),
    "int64": pa.int64(),
    "bool": pa.bool_(),
    "string": pa.string(),
    "timestamp[ms, UTC]": pa.timestamp("ms", tz="UTC"),
}
JSON_OF_DOCS = {
    "double": "number",
    "int64": "integer",
    "bool": "boolean",
    "string": "string",
    "timestamp[ms, UTC]": "integer",
}

Documented = dict[str, tuple[str, bool]]
"""Name of a column to its type and whether it may be null, as the page tells them."""


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]


def table(stream: Stream) -> Iterator[list[str]]:
    """The rows of a stream's table on the page."""
    section = PAGE.split(f"## `{stream}`")[1].split("\n## ")[0]
    for line in section.splitlines():
        if line.startswith("| `"):
            yield cells(line)


def expanded(name: str, config: StateConfig) -> list[str]:
    """The columns that a name on the page stands for."""
    if "{i}" in name:
        return [name.replace("{i}", str(i)) for i in range(1, config.max_levels + 1)]
    if "{lo}_{hi}" in name:
        bands = pairwise((0.0, *config.bands_bps))
        return [name.replace("{lo}_{hi}", f"{shortest(low)}_{shortest(high)}") for low, high in bands]
    if "{h}" in name:
        return [name.replace("{h}", shortest(horizon)) for horizon in config.horizons]
    return [name.replace("{w}", shortest(config.regime_window))]


def documented(stream: Stream, config: StateConfig) -> Documented:
    return {
        name: (kind, nullable == "yes")
        for general, kind, _unit, nullable, *_ in table(stream)
        for name in expanded(general.strip("`"), config)
    }


@pytest.fixture(params=CONFIGS.values(), ids=list(CONFIGS))
def values(request: pytest.FixtureRequest) -> dict[str, Any]:
    found: dict[str, Any] = request.param
    return found


def test_the_page_is_what_the_code_makes() -> None:
    assert reference() == PAGE, "run `make docs`"


@pytest.mark.parametrize("stream", STREAMS)
def test_arrow_and_json_schema_have_the_columns_of_the_page(stream: Stream, values: dict[str, Any]) -> None:
    config = StateConfig(**values)
    told = documented(stream, config)
    arrow = {field.name: (field.type, field.nullable) for field in arrow_schema(stream, config)}
    assert arrow == {name: (ARROW_OF_DOCS[kind], nullable) for name, (kind, nullable) in told.items()}
    described = json_schema(stream, config)
    assert {name: entry["type"] for name, entry in described["properties"].items()} == {
        name: [JSON_OF_DOCS[kind], "null"] if nullable else JSON_OF_DOCS[kind]
        for name, (kind, nullable) in told.items()
    }
    assert described["required"] == list(arrow) == list(described["properties"])


def test_the_columns_are_those_of_the_definitions(values: dict[str, Any]) -> None:
    config = StateConfig(**values)
    assert sorted(column.name for column in columns("hf", config)) == sorted(hf_columns(TwinSettings(**values)))
    assert sorted(column.name for column in columns("bars", config)) == sorted(bar_columns())


@pytest.mark.parametrize("stream", STREAMS)
def test_the_page_shows_the_json_schema(stream: Stream) -> None:
    shown = re.search(rf"`streamproc\.{stream}`:\n\n```json\n(.*?)```", PAGE, re.DOTALL)
    assert shown is not None
    assert json.loads(shown[1]) == json_schema(stream, StateConfig())


@pytest.mark.parametrize("stream", STREAMS)
def test_every_column_says_what_it_is_and_every_number_its_unit(stream: Stream) -> None:
    for name, kind, unit, nullable, what, _source in table(stream):
        assert what, name
        assert nullable in {"yes", "no"}, name
        assert unit or kind in {"string", "bool"} or name in {"`nonce`", "`generation`"}, name


def as_json(row: dict[str, Any]) -> dict[str, Any]:
    """A row as a JSON record: times as integer milliseconds."""
    return {
        name: round(value.timestamp() * 1000) if isinstance(value, datetime) else value for name, value in row.items()
    }


@pytest.fixture(scope="module")
def rows() -> dict[Stream, list[dict[str, Any]]]:
    processor = Processor()
    fed = processor.feed(b"".join(generate(Market(symbols=2, seconds=8, levels=6, rate_hz=4, seed=3, faults=True))))
    flushed = processor.flush()
    return {"hf": fed.hf.to_pylist(), "bars": fed.bars.to_pylist() + flushed.bars.to_pylist()}


@pytest.mark.parametrize("stream", STREAMS)
def test_rows_obey_the_json_schema(stream: Stream, rows: dict[Stream, list[dict[str, Any]]]) -> None:
    described = json_schema(stream, StateConfig())
    jsonschema.Draft202012Validator.check_schema(described)
    validator = jsonschema.Draft202012Validator(described)
    found = [as_json(row) for row in rows[stream]]
    assert len(found) > 10
    for row in found:
        assert [error.message for error in validator.iter_errors(row)] == []
    wrong = found[0] | {"generation": "0"}
    assert not validator.is_valid(wrong)
    assert not validator.is_valid(found[0] | {"surplus": 1})
    del wrong["generation"]
    assert not validator.is_valid(wrong)
