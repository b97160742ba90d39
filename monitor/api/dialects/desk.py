"""The desk as dialects get it: the use cases that all of them translate to."""

from typing import NamedTuple

from monitor.access.sealing import Sealer
from monitor.clock import Clock
from monitor.executions.bulk import Bulk
from monitor.executions.changes import Changes
from monitor.executions.commands import Commands
from monitor.executions.exports import Exports
from monitor.executions.lookups import Lookups
from monitor.executions.reads import Reads


class Desk(NamedTuple):
    """Everything that a dialect may ask for."""

    reads: Reads
    lookups: Lookups
    commands: Commands
    changes: Changes
    bulk: Bulk
    exports: Exports
    sealer: Sealer
    clock: Clock
