"""`/v1/quarantine`: records that could not be applied, with reason and bytes; leave them out, or replay them."""

import base64
from dataclasses import dataclass
from typing import Annotated, Final, Literal

from pydantic import WithJsonSchema
from starlette.requests import Request
from starlette.responses import Response
from typing_extensions import TypedDict

from monitor.access.positions import position_token
from monitor.access.principal import Principal
from monitor.access.sealing import Sealer
from monitor.errors import (
    CannotAcceptRecord,
    CannotReplayRecord,
    InsufficientPermissions,
    InvalidCursor,
    QuarantineNotFound,
)
from monitor.events.codec import format_time
from monitor.executions.quarantine import Quarantine, Shown, record_id
from monitor.store.quarantine_port import Decision, QuarantineQuery, QuarantineRow
from monitor.web.cursors import Pagination, cursor_token, open_cursor
from monitor.web.operations import Answer, Operation
from monitor.web.params import CURSOR, REVEAL, Limit, Number, Phrase, Time, Word
from monitor.web.replies import Timestamp, json_reply

_LIMIT: Final = Limit(default=20, most=100)
_REASON: Final = Phrase("reason", "Only those with this reason, such as `malformed_json`.")
_PARTITION: Final = Number("partition", 0, "Only those of this partition of the journal.")
_STATE: Final = Word("state", ("undecided", "accepted", "replayed"), "Only those about which this was decided.")
_SINCE: Final = Time("since", "Only what the journal took from then on.")
_UNTIL: Final = Time("until", "Only what the journal took before.")

_NOT_KEPT: Final = {"cache-control": "no-store"}

_Base64 = Annotated[str, WithJsonSchema({"type": "string", "contentEncoding": "base64"})]

_ONE: Final = "/v1/quarantine/{id}"


class QuarantineDocument(TypedDict):
    """A record that could not be applied."""

    id: str
    partition: int
    offset: int
    storedAt: Timestamp
    """When the journal took it."""
    reason: str
    """A word: malformed_json, missing_field, invalid_field, too_large, empty, forbidden_type, id_reused, ..."""
    field: str | None
    """The member at fault, where there is one."""
    message: str
    size: int | None
    """Bytes of its value; null where it has none."""
    state: Literal["undecided", "accepted", "replayed"]
    decidedAt: Timestamp | None
    decidedBy: str | None


class BytesDocument(TypedDict):
    """Bytes as they came, but for what is masked; the first 1 MiB of them."""

    base64: _Base64
    text: str | None
    """The same as text; null where they are none (UTF-8)."""


class QuarantinedDocument(QuarantineDocument):
    """The same with its bytes."""

    key: BytesDocument | None
    value: BytesDocument | None


class ReplayedDocument(QuarantineDocument):
    """A record that was replayed."""

    position: str | None
    """Fit for `minPosition`: what has got so far has it applied. Null where it was replayed before."""


class QuarantinePageDocument(TypedDict):
    """A page of records, newest first."""

    data: list[QuarantineDocument]
    pagination: Pagination


def operations(*, quarantine: Quarantine, sealer: Sealer) -> list[Operation]:
    """The operations of this file."""
    face = _Face(quarantine, sealer)
    return [
        Operation(
            "GET",
            "/v1/quarantine",
            face.listing,
            "admin",
            query=(_LIMIT, CURSOR, _REASON, _PARTITION, _STATE, _SINCE, _UNTIL),
            answers=(Answer(QuarantinePageDocument),),
            errors=(InvalidCursor,),
        ),
        Operation(
            "GET",
            _ONE,
            face.single,
            "admin",
            query=(REVEAL,),
            answers=(Answer(QuarantinedDocument),),
            errors=(QuarantineNotFound,),
            on_refused=face.reveal_refused,
        ),
        Operation(
            "POST",
            f"{_ONE}/accept",
            face.accept,
            "admin",
            answers=(Answer(QuarantineDocument),),
            errors=(QuarantineNotFound, CannotAcceptRecord),
        ),
        Operation(
            "POST",
            f"{_ONE}/replay",
            face.replay,
            "admin",
            answers=(Answer(ReplayedDocument),),
            errors=(QuarantineNotFound, CannotReplayRecord),
        ),
    ]


@dataclass(frozen=True, slots=True)
class _Face:
    quarantine: Quarantine
    sealer: Sealer

    async def listing(self, request: Request, who: Principal) -> Response:
        """Records of the team that could not be applied, newest first, without their bytes.

        One whose team cannot be told belongs to the team `default`.
        """
        limit, cursor, query = _LIMIT.take(request.query_params), CURSOR.take(request.query_params), _asked(request)
        question = ("quarantine", who.team, *map(str, query))
        if cursor is not None:
            query = query._replace(before_id=open_cursor(self.sealer, question, cursor)[1])
        page = await self.quarantine.listed(who, query, limit)
        next_cursor = cursor_token(self.sealer, question, (None, page.rows[-1].id)) if page.has_more else None
        pagination: Pagination = {"limit": limit, "hasMore": page.has_more, "nextCursor": next_cursor}
        content: QuarantinePageDocument = {"data": [_document(row) for row in page.rows], "pagination": pagination}
        return json_reply(content, headers=_NOT_KEPT)

    async def single(self, request: Request, who: Principal) -> Response:
        """One record with its bytes, masked as text is."""
        reveal = REVEAL.take(request.query_params)
        shown = await self.quarantine.shown(who, request.path_params["id"], reveal=reveal)
        return json_reply(_shown(shown), headers=_NOT_KEPT)

    async def accept(self, request: Request, who: Principal) -> Response:
        """The record, which is left out for good. It stays here, and can still be replayed."""
        return json_reply(_document(await self.quarantine.accept(who, request.path_params["id"])), headers=_NOT_KEPT)

    async def replay(self, request: Request, who: Principal) -> Response:
        """The record, whose bytes came in once more: for when what was wrong with reading it is mended.

        Again, it changes nothing, as an event is known by its id.
        """
        row, position = await self.quarantine.replay(who, request.path_params["id"])
        token = None if position is None else position_token(self.sealer, position)
        content: ReplayedDocument = {**_document(row), "position": token}
        return json_reply(content, headers=_NOT_KEPT)

    async def reveal_refused(self, request: Request, who: Principal) -> None:
        """Tells the audit of those who ask to reveal where they may not even ask."""
        if "true" in request.query_params.getlist("reveal"):
            await self.quarantine.reveal_refused(who, request.path_params["id"], InsufficientPermissions.code)


def _asked(request: Request) -> QuarantineQuery:
    said = request.query_params
    state = _STATE.take(said)
    decisions: dict[str | None, Decision] = {"accepted": "accepted", "replayed": "replayed"}
    return QuarantineQuery(
        reason=_REASON.take(said),
        partition=_PARTITION.take(said),
        is_decided=False if state == "undecided" else None,
        decision=decisions.get(state),
        since_us=_SINCE.take(said),
        until_us=_UNTIL.take(said),
    )


def _document(row: QuarantineRow) -> QuarantineDocument:
    return {
        "id": record_id(row),
        "partition": row.partition,
        "offset": row.offset,
        "storedAt": format_time(row.stored_us),
        "reason": row.reason,
        "field": row.field,
        "message": row.message,
        "size": row.size_bytes,
        "state": row.decision or "undecided",
        "decidedAt": None if row.decided_us is None else format_time(row.decided_us),
        "decidedBy": row.decided_by,
    }


def _shown(shown: Shown) -> QuarantinedDocument:
    return {**_document(shown.row), "key": _bytes(shown.key), "value": _bytes(shown.value)}


def _bytes(said: bytes | None) -> BytesDocument | None:
    return None if said is None else {"base64": base64.b64encode(said).decode(), "text": _text(said)}


def _text(said: bytes) -> str | None:
    try:
        return said.decode()
    except UnicodeDecodeError:
        return None
