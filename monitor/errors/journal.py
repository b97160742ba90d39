"""What the journal holds and what was expected of it differ; and records that nobody could apply."""

from monitor.errors.tree import ClientError, MonitorError, NotFound


class QuarantineNotFound(NotFound):
    """There is no such record in quarantine."""

    code = "QUARANTINE_NOT_FOUND"


class PartitionNotFound(NotFound):
    """The journal has no such partition."""

    code = "PARTITION_NOT_FOUND"


class CannotAcceptRecord(ClientError):
    """The record cannot be left out: it was replayed already."""

    code = "CANNOT_ACCEPT_RECORD"
    status = 409


class CannotReplayRecord(ClientError):
    """The record still holds no event; mend what is wrong first, or accept that it is left out."""

    code = "CANNOT_REPLAY_RECORD"
    status = 409


class JournalError(MonitorError):
    """The journal does not hold what was expected of it."""


class RetentionCut(JournalError):
    """Records that were not read yet are gone from the journal."""

    code = "RETENTION_CUT"

    def __init__(self, partition: int, expected: int, first: int) -> None:
        """Records `expected` to `first - 1` of `partition` were removed before they were read."""
        super().__init__(
            f"partition {partition}: records {expected} to {first - 1} are gone from the journal "
            f"({first - expected} records); the first one left is {first}"
        )
        self.partition, self.expected, self.first = partition, expected, first


class IncarnationChanged(JournalError):
    """The journal is not the one that the store was built from."""

    code = "INCARNATION_CHANGED"
