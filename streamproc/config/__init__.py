"""Settings: one place, validated, every fault at once."""

from streamproc.config.state import StateConfig

__all__ = ["StateConfig"]
