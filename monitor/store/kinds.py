"""What becomes of each table when the store is built anew: nothing is left out, nothing is kept by chance.

`monitor rebuild` goes by it. A test holds it complete: whoever adds a table says here of which kind it is.
"""

from collections.abc import Mapping
from typing import Final, Literal

Kind = Literal["store", "ledger", "executions", "sums", "words", "history"]
"""What a rebuild does with a table:

- store: says which journal is folded how far, and by which rules; written anew, each member by its own rule.
- ledger: settings, what people decided and what is owed; carried over as it is.
- executions: keyed by an execution; folded anew, or carried over where records of it are gone from the journal.
- sums: over executions; added up anew.
- words: for what is counted or searched, which outlive the executions that told them; carried over, and told again by
  the fold.
- history: what commits said; made anew with the fold, of executions that are carried over as it is.
"""

KINDS: Final[Mapping[str, Kind]] = {
    "meta": "store",
    "offsets": "store",
    "halts": "store",
    "executions": "executions",
    "progress": "executions",
    "seen": "executions",
    "tags": "executions",
    "nodes": "executions",
    "payloads": "executions",
    "large_payloads": "executions",
    "log_lines": "executions",
    "commands": "executions",
    "watches": "executions",
    "erasures": "executions",
    "error_texts": "executions",
    "statistics": "sums",
    "rollups": "sums",
    "run_statistics": "sums",
    "workflow_names": "words",
    "error_kinds": "words",
    "node_names": "words",
    "totals": "sums",
    "releases": "history",
    "quarantine": "ledger",
    "endpoints": "ledger",
    "lanes": "ledger",
    "delivery_bodies": "ledger",
    "deliveries": "ledger",
    "attempts": "ledger",
    "replays": "ledger",
    "tokens": "ledger",
    "tickets": "ledger",
    "audit": "ledger",
    "idempotent_requests": "ledger",
    "bulk_jobs": "ledger",
    "bulk_items": "ledger",
    "export_jobs": "ledger",
    "leases": "ledger",
}
"""The kind of every table, by its name."""


def tables_of(kind: Kind) -> list[str]:
    """The names of all tables of a kind."""
    return [name for name, of in KINDS.items() if of == kind]
