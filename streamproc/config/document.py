"""YAML into plain values, each with the line it stands on.

Scalars follow the core schema of YAML 1.2: ``1e-4`` is a number, ``no`` is a text, and nothing is a date. Aliases are
refused: no setting needs them, and a few of them can make a small file a huge value.
"""

import re
from typing import Any, NamedTuple

import yaml

Path = tuple[str | int, ...]
"""Keys and list positions from the top, such as ``("state", "horizons", 2)``."""


class Flaw(NamedTuple):
    """Something wrong with the text itself."""

    line: int
    path: Path
    message: str


class Document(NamedTuple):
    """A YAML text as values (None when it is empty), and its lines, counted from 1."""

    values: Any
    lines: dict[Path, int]
    flaws: list[Flaw]


class _Loader(yaml.SafeLoader):
    """PyYAML's, with the scalars of YAML 1.2."""


_Loader.yaml_implicit_resolvers = {}
for _tag, _pattern, _first in (
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("bool", r"true|True|TRUE|false|False|FALSE", list("tTfF")),
    ("int", r"[-+]?(?:0|[1-9][0-9]*)", list("-+0123456789")),
    ("float", r"[-+]?(?:\.[0-9]+|(?:0|[1-9][0-9]*)(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?", list("-+.0123456789")),
    ("float", r"[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)", list("-+.")),
):
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(f"(?:{_pattern})$"), _first)

_TAGS = {f"tag:yaml.org,2002:{kind}" for kind in ("null", "bool", "int", "float", "str", "seq", "map")}


_QUOTED = re.compile(r"'[^'<>\\][^'<>]+'")
"""Text of the document within an error, which may be part of a secret."""


def _tag_told(tag: str) -> str:
    """What is wrong about a tag. One of no known kind is perhaps a password without quotes."""
    if tag.startswith("tag:yaml.org,2002:"):
        return f"the tag {tag} is not supported"
    return "tags are not supported: a text that begins with ! needs quotes"


def _line(part: yaml.Node | yaml.Event) -> int:
    return part.start_mark.line + 1 if part.start_mark else 1


class _Walk:
    def __init__(self, loader: _Loader) -> None:
        self.loader = loader
        self.lines: dict[Path, int] = {}
        self.flaws: list[Flaw] = []

    def value(self, node: yaml.Node, path: Path) -> Any:
        self.lines.setdefault(path, _line(node))
        if node.tag not in _TAGS:
            self.flaws.append(Flaw(_line(node), path, _tag_told(node.tag)))
            return None
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, path)
        if isinstance(node, yaml.SequenceNode):
            return [self.value(item, (*path, index)) for index, item in enumerate(node.value)]
        try:
            return self.loader.construct_object(node)
        except ValueError:
            return node.value  # `!!int ten`: a text, which is then refused as one

    def _mapping(self, node: yaml.MappingNode, path: Path) -> dict[str, Any]:
        values: dict[str, Any] = {}
        for key_node, value_node in node.value:
            line = _line(key_node)
            if not isinstance(key_node, yaml.ScalarNode):
                self.flaws.append(Flaw(line, path, "a key must be a word, not a list or mapping"))
                continue
            key = str(key_node.value)
            at = (*path, key)
            if key in values:
                self.flaws.append(Flaw(line, at, f"given twice, first on line {self.lines[at]}"))
                continue
            self.lines[at] = line
            values[key] = self.value(value_node, at)
        return values


def parse(text: str) -> Document:
    """Read one YAML document. Never raises for what the text holds: its flaws are in the result."""
    try:
        if aliases := [event for event in yaml.parse(text, _Loader) if isinstance(event, yaml.AliasEvent)]:
            return Document(None, {}, [Flaw(_line(alias), (), "aliases are not supported") for alias in aliases])
        loader = _Loader(text)
        node = loader.get_single_node()
        if node is None:
            return Document(None, {}, [])
        walk = _Walk(loader)
        return Document(walk.value(node, ()), walk.lines, walk.flaws)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        problem = _QUOTED.sub("'...'", str(error.problem))
        return Document(None, {}, [Flaw(mark.line + 1 if mark else 1, (), f"no valid YAML: {problem}")])
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        return Document(None, {}, [Flaw(line, (), f"no valid YAML: {error.reason}")])
    except RecursionError:
        return Document(None, {}, [Flaw(1, (), "no valid YAML: nested too deep")])
