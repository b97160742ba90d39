"""Every store driver keeps the promises of the port."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from monitor.store import MemoryStore, Store, open_postgres_store, open_sqlite_store
from tests.contracts.access_contract import AccessContract
from tests.contracts.command_contract import CommandContract
from tests.contracts.expiry_contract import ExpiryContract
from tests.contracts.export_contract import ExportContract
from tests.contracts.lease_contract import LeaseContract
from tests.contracts.ledger_contract import LedgerContract
from tests.contracts.order_contract import OrderContract
from tests.contracts.quarantine_contract import QuarantineContract
from tests.contracts.store_contract import INCARNATION, STARTS, StoreContract
from tests.contracts.watch_contract import WatchContract


class TestMemoryStore(
    ExpiryContract,
    StoreContract,
    LedgerContract,
    CommandContract,
    AccessContract,
    OrderContract,
    ExportContract,
    QuarantineContract,
    WatchContract,
    LeaseContract,
):
    @pytest.fixture
    async def store(self) -> Store:
        store = MemoryStore()
        await store.write(lambda writer: writer.bind(INCARNATION, STARTS))
        return store


class TestSQLiteStore(
    ExpiryContract,
    StoreContract,
    LedgerContract,
    CommandContract,
    AccessContract,
    OrderContract,
    ExportContract,
    QuarantineContract,
    WatchContract,
    LeaseContract,
):
    @pytest.fixture
    async def store(self, tmp_path: Path) -> AsyncIterator[Store]:
        store = await open_sqlite_store(tmp_path / "store.db")
        await store.write(lambda writer: writer.bind(INCARNATION, STARTS))
        yield store
        await store.close()


class TestPostgresStore(
    ExpiryContract,
    StoreContract,
    LedgerContract,
    CommandContract,
    AccessContract,
    OrderContract,
    ExportContract,
    QuarantineContract,
    WatchContract,
    LeaseContract,
):
    @pytest.fixture
    async def store(self, postgres_store_url: str) -> AsyncIterator[Store]:
        store = await open_postgres_store(postgres_store_url)
        await store.write(lambda writer: writer.bind(INCARNATION, STARTS))
        yield store
        await store.close()
