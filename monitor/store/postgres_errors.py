"""What PostgreSQL's errors mean to a service: whether a later try may succeed, by the code that it sends with each."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from sqlalchemy.exc import DBAPIError, PendingRollbackError, ResourceClosedError

from monitor.errors import Fenced, MonitorError, StoreUnavailable

# Classes and codes of PostgreSQL's appendix A. Lost connections (08), resources (53: disk full, too many connections),
# operators (57: shutting down, starting up, canceled by a time limit), the system (58: I/O), locks (55), idle too
# long (25P03), a server that became a standby (25006), and one victim of a deadlock (40P01).
_PASSING: Final = ("08", "53", "57", "58", "55", "25P03", "25006", "40P01", "40003", "XX001")

# Somebody else changed what was read.
_OUTRUN: Final = "40001"


@contextmanager
def translated() -> Iterator[None]:
    """Say the driver's errors in the store's words; the transaction inside is undone by then.

    What no later try will cure (a missing table, an error of this program) is not `StoreUnavailable`: whoever works on
    would try it for ever.
    """
    from psycopg import Error  # noqa: PLC0415 - the driver loads only where it is used

    try:
        yield
    except (Error, DBAPIError, PendingRollbackError, ResourceClosedError) as error:
        raise meaning(error) from error


def meaning(error: BaseException) -> MonitorError:
    """The store's own error for one of the driver."""
    found = driver_error(error)
    said = " ".join(str(found).split())
    if may_pass(found):
        return StoreUnavailable(f"The store cannot be used now: {said}.")
    if code_of(found) == _OUTRUN:
        return Fenced(f"Somebody else changed it first: {said}.")
    return MonitorError(f"The store cannot go on: {said}.")


def may_pass(error: BaseException) -> bool:
    """Whether a later try may succeed."""
    from psycopg import InterfaceError, OperationalError  # noqa: PLC0415

    code = code_of(error)
    if not code:  # the server said nothing: it was not there, or went away
        return isinstance(error, OperationalError | InterfaceError)
    return code.startswith(_PASSING)


def code_of(error: BaseException) -> str:
    """The code that the server sent; empty where none answered."""
    return getattr(error, "sqlstate", None) or ""


def driver_error(error: BaseException) -> BaseException:
    """The driver's own error, without the statement that SQLAlchemy quotes."""
    return error.orig if isinstance(error, DBAPIError) and error.orig is not None else error
