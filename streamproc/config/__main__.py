"""Print what is made from the settings: ``python -m streamproc.config yaml|markdown|schema|values FILE``.

``config.yaml``, ``docs/configuration.md``, the JSON Schema of a configuration file, and that of a Helm chart's values,
read from FILE, with its part of the configuration made anew.
"""

import json
import sys
from pathlib import Path

from streamproc.config.reference import config_yaml, configuration_markdown
from streamproc.config.schema import config_schema, values_schema

if __name__ == "__main__":
    match sys.argv[1:]:
        case ["yaml"]:
            sys.stdout.write(config_yaml())
        case ["markdown"]:
            sys.stdout.write(configuration_markdown())
        case ["schema"]:
            sys.stdout.write(json.dumps(config_schema(), indent=2) + "\n")
        case ["values", file]:
            sys.stdout.write(json.dumps(values_schema(json.loads(Path(file).read_bytes())), indent=2) + "\n")
        case _:
            sys.exit(__doc__)
