"""The store: everything at rest but the journal. Port in `base`, drivers opened by their `open_*` functions."""

from monitor.store.base import Commit, Moved, Reader, Store, Writer
from monitor.store.execution_port import ListQuery, Page
from monitor.store.memory import MemoryStore
from monitor.store.postgres import open_postgres_store
from monitor.store.sqlite import open_sqlite_store

__all__ = [
    "Commit",
    "ListQuery",
    "MemoryStore",
    "Moved",
    "Page",
    "Reader",
    "Store",
    "Writer",
    "open_postgres_store",
    "open_sqlite_store",
]
