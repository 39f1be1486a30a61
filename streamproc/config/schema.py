"""JSON Schemas made from the settings: of a configuration file, and of one among a Helm chart's values."""

from typing import Any

from streamproc.config.secrets import MAPS, PLACE, SECRET_KEY
from streamproc.config.settings import Settings

Schema = dict[str, Any]

_NAMED = {"le": "maximum", "ge": "minimum", "lt": "exclusiveMaximum", "gt": "exclusiveMinimum"}
"""What pydantic calls bounds that stand behind a validator of ours."""


def config_schema() -> Schema:
    """Of a configuration file: every key with its type and bounds; unknown ones are refused."""
    made = Settings.model_json_schema()
    sections = {
        name: _section(made["$defs"][section["$ref"].rpartition("/")[2]], section["description"])
        for name, section in made["properties"].items()
    }
    return {
        "type": "object",
        "description": "A configuration file of streamproc.",
        "additionalProperties": False,
        "properties": sections,
    }


def values_schema(values: Schema) -> Schema:
    """That of a chart's values with its part `config` made anew: a file without secrets."""
    config = config_schema()
    for name in MAPS:
        section, key = name.removesuffix(".").split(".")
        config["properties"][section]["properties"][key]["propertyNames"] = {
            "anyOf": [{"not": {"pattern": SECRET_KEY.pattern}}, {"pattern": PLACE.pattern}]
        }
    return {**values, "properties": {**values["properties"], "config": config}}


def _section(model: Schema, description: str) -> Schema:
    properties = {name: _key(key) for name, key in model["properties"].items()}
    return {
        "type": ["object", "null"],
        "description": description,
        "additionalProperties": False,
        "properties": properties,
    }


def _key(key: Schema) -> Schema:
    plain = {_NAMED.get(word, word): value for word, value in key.items() if word != "title"}
    if plain["default"] is None and isinstance(plain.get("type"), str):
        plain["type"] = [plain["type"], "null"]
    return plain
