"""Something does not answer now, or takes no more: try again."""

from monitor.errors.tree import Unavailable


class PositionNotReached(Unavailable):
    """The state has not reached the asked position yet; try again."""

    code = "POSITION_NOT_REACHED"


class JournalUnavailable(Unavailable):
    """The journal does not answer."""

    code = "JOURNAL_UNAVAILABLE"


class StoreUnavailable(Unavailable):
    """The store does not answer."""

    code = "STORE_UNAVAILABLE"


class EngineUnavailable(Unavailable):
    """The engine does not answer."""

    code = "ENGINE_UNAVAILABLE"


class TooManyWaiting(Unavailable):
    """As many requests wait for executions as this process takes; ask again, or without waiting."""

    code = "TOO_MANY_WAITING"
    retry_after_s = 5


class Shed(Unavailable):
    """This process has as many streams as it takes; try again later, or another gateway."""

    code = "TOO_MANY_STREAMS"
    retry_after_s = 30
