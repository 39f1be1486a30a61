"""Settings: one place, validated, every fault at once."""

from streamproc.config.load import Loaded, load, load_settings
from streamproc.config.settings import (
    KafkaConfig,
    LocalConfig,
    LogConfig,
    ObserveConfig,
    ProcessConfig,
    PublishConfig,
    Settings,
    SinkConfig,
)
from streamproc.config.state import StateConfig

__all__ = [
    "KafkaConfig",
    "Loaded",
    "LocalConfig",
    "LogConfig",
    "ObserveConfig",
    "ProcessConfig",
    "PublishConfig",
    "Settings",
    "SinkConfig",
    "StateConfig",
    "load",
    "load_settings",
]
