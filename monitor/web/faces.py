"""Faces: the spellings in which the one API is served. Each says how refusals look there, and how a token is shown.

An operation names its face in the route table; `problems` words by it what the operation refuses, and by the face that
is mounted there what no operation serves; `contract` describes both.
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, NamedTuple

from monitor.access.tokens import Kind
from monitor.errors import MonitorError
from monitor.events.codec import format_time

CredentialHeader = Literal["Authorization", "X-N8N-API-KEY"]


class Refusal(NamedTuple):
    """What stands against a request, before a face words it."""

    status: int
    # For programs, as `errors` has it.
    code: str
    message: str
    # Members about this very case, such as `executionId` or `field`.
    details: Mapping[str, Any]
    # Of the request, as it was sent.
    path: str
    at_us: int


@dataclass(frozen=True, slots=True)
class Face:
    """One spelling of the API."""

    name: str
    # Every path that begins so is worded by it, also where nothing is served.
    mount: str
    # The body of a refusal.
    words: Callable[[Refusal], Mapping[str, Any]]
    # Python's type of that body; None = the native one, whose codes the contract lists.
    document: object = None
    # Errors that have another status here than elsewhere.
    statuses: Mapping[type[MonitorError], int] | None = None
    # Where a token stands; `Authorization` is read everywhere.
    header: CredentialHeader = "Authorization"
    # How a token may begin here, beside our own way.
    spelling: Kind = "mon"

    def status_of(self, kind: type[MonitorError]) -> int:
        """The HTTP status of an error here."""
        return (self.statuses or {}).get(kind, kind.status)

    def serves(self, path: str) -> bool:
        """Whether a path is this face's."""
        return path.startswith(self.mount) and path[len(self.mount) : len(self.mount) + 1] in ("", "/")


def _native(refusal: Refusal) -> Mapping[str, Any]:
    members = {"code": refusal.code, "message": refusal.message, **refusal.details}
    return {"error": {**members, "timestamp": format_time(refusal.at_us)}}


NATIVE: Final = Face("native", "", _native)
"""The Executions API's own, and that of every path that nobody else has."""


def face_at(path: str, faces: Collection[Face]) -> Face:
    """The face that a path belongs to."""
    return next((face for face in faces if face.serves(path)), NATIVE)
