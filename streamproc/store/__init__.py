"""State on disk: keys and values that change together, in one durable step."""

from streamproc.store.base import Store
from streamproc.store.memory import MemoryStore
from streamproc.store.rocks import RocksStore

__all__ = ["MemoryStore", "RocksStore", "Store"]
