"""Print ``config.yaml`` or ``docs/configuration.md``: ``python -m streamproc.config yaml|markdown``."""

import sys

from streamproc.config.reference import config_yaml, configuration_markdown

if __name__ == "__main__":
    match sys.argv[1:]:
        case ["yaml"]:
            sys.stdout.write(config_yaml())
        case ["markdown"]:
            sys.stdout.write(configuration_markdown())
        case _:
            sys.exit(__doc__)
