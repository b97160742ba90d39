"""The table of leases. Ledger, never rebuilt."""

from typing import Final

from monitor.store.columns import keyed as _keyed
from monitor.store.columns import number as _int
from monitor.store.columns import text as _text

leases: Final = _keyed("leases", _text("name", key=True), _text("holder"), _int("until_us"))
