"""The tables of requests that are answered once, and of jobs over many executions. Ledger, never rebuilt."""

from typing import Final

from sqlalchemy import Index, literal_column

from monitor.store.columns import blob as _bytes
from monitor.store.columns import keyed as _keyed
from monitor.store.columns import number as _int
from monitor.store.columns import serial as _serial
from monitor.store.columns import table as _table
from monitor.store.columns import text as _text

idempotent_requests = _keyed(
    "idempotent_requests",
    _text("team", key=True),
    _text("principal", key=True),
    _text("key", key=True),
    _bytes("fingerprint"),
    _int("created_us"),
    # NULL while it is being carried out.
    _bytes("answer", null=True),
)
Index("idempotent_requests_by_time", idempotent_requests.c.created_us)
# Those of a team are counted here, without their answers.
Index("idempotent_requests_by_team", idempotent_requests.c.team)

bulk_jobs = _table(
    "bulk_jobs",
    _serial(),
    _text("id"),
    _text("team"),
    _int("created_us"),
    _int("running"),
    # The BulkJob in MessagePack.
    _bytes("body"),
    sqlite_autoincrement=True,
)

RUNNING_BULK: Final = bulk_jobs.c.running == literal_column("1")
Index("bulk_jobs_by_id", bulk_jobs.c.team, bulk_jobs.c.id, unique=True)
Index("bulk_jobs_running", bulk_jobs.c.key, sqlite_where=RUNNING_BULK)

bulk_items = _keyed(
    "bulk_items",
    _int("job_key", key=True),
    _int("place", key=True),
    # The BulkItem in MessagePack.
    _bytes("body"),
)
