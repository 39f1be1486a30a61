"""``config.yaml`` and ``docs/configuration.md``, made from the settings' own descriptions."""

import textwrap
from collections.abc import Iterator

from pydantic.fields import FieldInfo

from streamproc.config.load import ENVIRONMENT_PREFIX, SECTIONS
from streamproc.config.settings import Settings
from streamproc.config.show import as_text

_INTRODUCTION = """\
# Configuration

Made from the code by `make docs`.

A value comes from the first of these places that gives it:

1. a flag: `--set state.horizons='[1, 5]'` (any command, repeatable);
2. the environment: `STREAMPROC_STATE__HORIZONS='[1, 5]'` (a double underscore between section and key);
3. the file: `--config FILE`, by default `config.yaml` in the working directory, if there;
4. the default below.

Values are YAML; where a key takes text, that of a flag or variable is taken as it stands, without quotes.
`streamproc config show` prints every value with where it came from, secrets masked. All faults are reported at once,
each with its place; an unknown key or an unknown `STREAMPROC_` variable is a fault too. Times are in seconds, whole
multiples of 0.001.

Single client properties of Kafka: `--set kafka.properties.linger.ms=5`, or
`STREAMPROC_KAFKA__PROPERTIES__SASL_PASSWORD` for `sasl.password` (an underscore stands for a dot, so that a secret can
come from the environment).

One variable is no setting: `STREAMPROC_CACHE_DIR`, the folder of the compiled kernels (by default `streamproc` in the
user's cache folder).
"""


def config_yaml() -> str:
    """A configuration file with every key, what it does, and its default."""
    lines = ["# Every key with its default. What is in force: `streamproc config show`. More: docs/configuration.md."]
    for section, model in SECTIONS.items():
        lines += ["", f"# {Settings.model_fields[section].description}", f"{section}:"]
        for key, field in model.model_fields.items():
            lines += [f"  # {line}" for line in textwrap.wrap(field.description or "", width=110)]
            lines.append(f"  {key}: {_default(field)}")
    return "\n".join(lines) + "\n"


def configuration_markdown() -> str:
    """The page of the documentation."""
    return "\n".join([_INTRODUCTION, *_tables()])


def _tables() -> Iterator[str]:
    for section, model in SECTIONS.items():
        yield f"## `{section}:`\n\n{Settings.model_fields[section].description}\n"
        yield "| key | default | what it does | environment |\n| --- | --- | --- | --- |"
        for key, field in model.model_fields.items():
            variable = f"{ENVIRONMENT_PREFIX}{section}__{key}".upper()
            yield f"| `{key}` | `{_default(field)}` | {field.description} | `{variable}` |"
        yield ""


def _default(field: FieldInfo) -> str:
    return as_text(field.default)
