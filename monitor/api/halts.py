"""`/v1/quarantine/halts` and `/v1/quarantine/resume`: partitions that stand still after a burst, and how they go on."""

from dataclasses import dataclass

from pydantic import Field
from starlette.requests import Request
from starlette.responses import Response
from typing_extensions import TypedDict

from monitor.access.principal import Principal
from monitor.errors import InsufficientPermissions, PartitionNotFound
from monitor.events.codec import format_time
from monitor.executions.halts import Halts
from monitor.projections.bursts import Halt
from monitor.web.documents import Document, read_document
from monitor.web.operations import Answer, Operation
from monitor.web.replies import Timestamp, json_reply

_NOT_KEPT = {"cache-control": "no-store"}


class ResumeRequest(Document):
    """The body of `POST /v1/quarantine/resume`."""

    partition: int = Field(ge=0, le=999_999_999, description="Of the journal.")


class HaltDocument(TypedDict):
    """A partition that stands still."""

    partition: int
    offset: int
    """The first record that is not read."""
    first: int
    """Where the burst begins."""
    records: int
    """How many of it hold no event, with the one at `offset`."""
    reason: str
    """Of the one at `offset`."""
    haltedAt: Timestamp


class HaltsDocument(TypedDict):
    """Every partition that stands still."""

    data: list[HaltDocument]


class ResumedDocument(TypedDict):
    """What letting a partition go on did."""

    partition: int
    resumed: bool
    """False: it did not stand still."""
    accepted: int
    """How many records in quarantine were accepted by it."""


def operations(*, halts: Halts) -> list[Operation]:
    """The operations of this file."""
    face = _Face(halts)
    return [
        Operation("GET", "/v1/quarantine/halts", face.listing, "admin", answers=(Answer(HaltsDocument),)),
        Operation(
            "POST",
            "/v1/quarantine/resume",
            face.resume,
            "admin",
            body=ResumeRequest,
            answers=(Answer(ResumedDocument),),
            errors=(PartitionNotFound, InsufficientPermissions),
        ),
    ]


@dataclass(frozen=True, slots=True)
class _Face:
    halts: Halts

    async def listing(self, _request: Request, _who: Principal) -> Response:
        """Partitions that stand still since too many of their records hold no event. Others go on."""
        standing = await self.halts.standing()
        content: HaltsDocument = {"data": [_document(partition, halt) for partition, halt in standing.items()]}
        return json_reply(content, headers=_NOT_KEPT)

    async def resume(self, request: Request, who: Principal) -> Response:
        """Let a partition go on: what of its records up to now holds no event is accepted, and can still be replayed.

        One that does not stand still is left alone. It takes an administrator of the team `default`.
        """
        document = await read_document(request, ResumeRequest)
        resumed = await self.halts.resume(who, document.partition)
        content: ResumedDocument = {
            "partition": document.partition,
            "resumed": resumed.was_halted,
            "accepted": resumed.accepted,
        }
        return json_reply(content, headers=_NOT_KEPT)


def _document(partition: int, halt: Halt) -> HaltDocument:
    return {
        "partition": partition,
        "offset": halt.offset,
        "first": halt.first,
        "records": halt.records,
        "reason": halt.reason,
        "haltedAt": format_time(halt.halted_us),
    }
