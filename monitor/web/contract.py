"""The contract of the REST half as OpenAPI 3.1, rendered from the declarations that serve the requests.

What an operation takes, answers and refuses with is said once, where it is made; what every operation does alike
(credentials, unknown parameters, bodies that are none, a service that is not available) is added here. Made when
somebody asks for it first: it costs a start nothing.
"""

import re
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from monitor import __version__
from monitor.access.roles import SCOPES, Scope
from monitor.errors import (
    AddressNotAllowed,
    CsrfTokenMissing,
    ForeignOrigin,
    InsufficientPermissions,
    InvalidCursor,
    InvalidFilter,
    InvalidPosition,
    InvalidRequest,
    MisdirectedRequest,
    MonitorError,
    PositionNotReached,
    RateLimited,
    SessionInvalid,
    StoreUnavailable,
    TicketInvalid,
    TokenExpired,
    TokenInUrl,
    TokenInvalid,
    TokenMalformed,
    TokenRevoked,
    TooLarge,
    Unauthenticated,
    Unavailable,
    UnsupportedMediaType,
)
from monitor.web.auth import COOKIE, TICKET
from monitor.web.documents import Document
from monitor.web.faces import NATIVE, CredentialHeader, Face
from monitor.web.filters import filter_parameters
from monitor.web.operations import Answer, Open, Operation
from monitor.web.params import CURSOR, FILTERS, MIN_POSITION, Parameter, Text
from monitor.web.schemas import Json, Mode, Schemas

HEADERS: Final[Mapping[str, Json]] = {
    "monitor-position": {
        "required": True,
        "description": "How far the state was folded that the answer shows; fit for minPosition and for a stream.",
        "schema": {"type": "string"},
    },
    "etag": {
        "required": True,
        "description": "The version of what is shown, for If-None-Match.",
        "schema": {"type": "string"},
    },
    "monitor-total": {
        "required": True,
        "description": "How many executions there were when it began; with + where there were more.",
        "schema": {"type": "string"},
    },
    "content-disposition": {"description": "A name for the file.", "schema": {"type": "string"}},
    "location": {"required": True, "description": "The address of what was made.", "schema": {"type": "string"}},
    "accept-ranges": {
        "required": True,
        "description": "bytes: parts can be asked for with Range.",
        "schema": {"type": "string"},
    },
    "content-range": {
        "required": True,
        "description": "Which part this is, and of how much.",
        "schema": {"type": "string"},
    },
    "preference-applied": {"description": "Which preference was honoured.", "schema": {"type": "string"}},
    "idempotency-replayed": {
        "description": "true: the answer to an earlier request with the same Idempotency-Key.",
        "schema": {"type": "string"},
    },
    "ratelimit-limit": {"description": "Requests that the token has in a second.", "schema": {"type": "integer"}},
    "ratelimit-remaining": {"description": "How many are left now.", "schema": {"type": "integer"}},
    "ratelimit-reset": {"description": "Seconds until all are there again.", "schema": {"type": "integer"}},
    "retry-after": {"description": "Seconds to wait before the next try.", "schema": {"type": "integer"}},
}
"""Headers of answers that say something, by name."""

_ERRORS_OF_PARAMETERS: Final[Mapping[int, Sequence[type[MonitorError]]]] = {
    id(FILTERS): (InvalidFilter,),
    id(CURSOR): (InvalidCursor,),
    id(MIN_POSITION): (InvalidPosition, PositionNotReached),
}

_OF_ALL: Final = (InvalidRequest, MisdirectedRequest, ForeignOrigin, Unavailable, StoreUnavailable, MonitorError)
"""What any operation may refuse with: unknown parameters, a foreign host or page, and a service in trouble."""

_OF_CREDENTIALS: Final = (
    *(Unauthenticated, TokenMalformed, TokenInvalid, TokenExpired, TokenRevoked, RateLimited),
    *(TicketInvalid, SessionInvalid, TokenInUrl, AddressNotAllowed, InsufficientPermissions),
)

_OF_BODIES: Final = (UnsupportedMediaType, TooLarge)


@dataclass(frozen=True, slots=True, kw_only=True)
class Described:
    """One method of one address, as the contract shows it."""

    method: str
    path: str
    doc: str
    # The module that serves it.
    room: str
    scope: Scope | None = None
    query: Sequence[Parameter] = ()
    headers: Sequence[Parameter] = ()
    body: object = None
    body_optional: bool = False
    body_types: Sequence[str] = ("application/json",)
    answers: Sequence[Answer] = (Answer(),)
    errors: Sequence[type[MonitorError]] = ()
    name: str = ""
    face: Face = NATIVE

    @property
    def tag(self) -> str:
        """What it is listed under."""
        return self.room.rpartition(".")[2]

    @property
    def id(self) -> str:
        """What generated clients call it."""
        first = self.answers[0].document
        is_list = "pagination" in getattr(first, "__annotations__", ())
        return self.name or operation_name(self.method, self.path, is_list=is_list)

    @property
    def bodies(self) -> Mapping[str, object]:
        """What is taken, by media type."""
        if self.body is None:
            return {}
        return self.body if isinstance(self.body, Mapping) else dict.fromkeys(self.body_types, self.body)

    @property
    def refusals(self) -> Sequence[type[MonitorError]]:
        """Every error that it may answer with, by status and code."""
        kinds: set[type[MonitorError]] = {*_OF_ALL, *self.errors}
        kinds.update(_OF_CREDENTIALS if self.scope else ())
        kinds.update({CsrfTokenMissing} if self.scope and self.method != "GET" else ())
        kinds.update(error for it in self.query for error in _ERRORS_OF_PARAMETERS.get(id(it), ()))
        if self.bodies:
            kinds.update(_OF_BODIES)
            kinds.update(it.refusal for it in self.bodies.values() if isinstance(it, type) and issubclass(it, Document))
        return sorted(kinds, key=lambda kind: (self.face.status_of(kind), kind.code))


def described(operation: Operation | Open) -> Described:
    """A declaration, as the contract shows it."""
    handler = operation.handler
    # A dialect is told as a whole, not by the file of its handlers.
    doc, room = plain_text(handler.__doc__), handler.__module__.removesuffix(".handlers")
    if isinstance(operation, Open):
        return Described(
            method="GET",
            path=operation.path,
            doc=doc,
            room=room,
            answers=operation.answers,
            errors=operation.errors,
            name=operation.name,
        )
    return Described(
        method=operation.method,
        path=operation.path,
        doc=doc,
        room=room,
        scope=operation.scope,
        query=operation.query,
        headers=operation.headers,
        body=operation.body,
        body_optional=operation.body_optional,
        body_types=operation.body_types,
        answers=operation.answers,
        errors=operation.errors,
        name=operation.name,
        face=operation.face,
    )


def openapi(operations: Iterable[Described]) -> Json:
    """The document."""
    table = sorted(operations, key=lambda it: (it.path, it.method))
    schemas = Schemas(_documents(table))
    paths: dict[str, Json] = {}
    for it in table:
        paths.setdefault(it.path, {})[it.method.lower()] = _operation(it, table, schemas)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Execution monitor",
            "version": __version__,
            "description": "The live state of workflow executions. Durations are seconds, times RFC 3339 in UTC.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "tags": [
            {"name": tag, "description": plain_text(sys.modules[room].__doc__)}
            for tag, room in sorted({(it.tag, it.room) for it in table})
        ],
        "paths": paths,
        "components": {
            "schemas": {**schemas.components, "Error": _ERROR},
            "securitySchemes": _SCHEMES,
        },
    }


_ABOUT_SCOPES: Final = "Its scopes: " + " ".join(f"`{name}`: {doc}" for name, doc in SCOPES.items())

_SCHEMES: Final[Mapping[str, Json]] = {
    "bearer": {"type": "http", "scheme": "bearer", "description": f"A token. {_ABOUT_SCOPES}"},
    "apiKey": {"type": "apiKey", "in": "header", "name": "X-N8N-API-KEY", "description": f"A token. {_ABOUT_SCOPES}"},
    "ticket": {
        "type": "apiKey",
        "in": "query",
        "name": TICKET,
        "description": "For who can send no header: of `POST /v1/stream-tickets`, good for once, within 30 seconds. "
        "As `Authorization: Ticket ...` it is also good for what changes something.",
    },
    "session": {
        "type": "apiKey",
        "in": "cookie",
        "name": COOKIE,
        "description": "Of `POST /v1/session`, for pages of this service and of `MONITOR_ORIGINS`.",
    },
    "csrf": {
        "type": "apiKey",
        "in": "header",
        "name": "X-CSRF-Token",
        "description": "The `csrfToken` of the session, which the cookie needs beside it to change something.",
    },
}
"""What a request can show, as `web.auth` reads it."""


def _security(method: str, scope: Scope, header: CredentialHeader) -> list[Json]:
    """Each of them is enough."""
    tokens = ("bearer",) if header == "Authorization" else ("apiKey", "bearer")
    ways = (("session",), ("ticket",)) if method == "GET" else (("session", "csrf"),)
    return [{key: [scope] for key in way} for way in (*((it,) for it in tokens), *ways)]


def operation_name(method: str, path: str, *, is_list: bool = False) -> str:
    """What generated clients call an operation: listExecutions, getExecution, cancelExecution, getExecutionLogs."""
    segments = [it for it in path.strip("/").split("/") if not re.fullmatch(r"v\d+", it)]
    nouns: list[str] = []
    for place, segment in enumerate(segments):
        if segment.startswith("{"):
            continue
        follows_id = place + 1 < len(segments) and segments[place + 1].startswith("{")
        nouns.append(_singular(segment) if follows_id else segment)
    ends_in_id = bool(segments) and segments[-1].startswith("{")
    below_id = any(it.startswith("{") for it in segments[:-1])
    if method == "POST" and below_id and not ends_in_id:
        # The last word is what is done.
        return _camel([nouns[-1], *nouns[:-1]])
    verb = _VERBS[method]
    if method == "POST":
        nouns = [*nouns[:-1], _singular(nouns[-1])]
    return _camel(["list" if is_list else verb, *nouns])


_VERBS: Final = {"GET": "get", "POST": "create", "PUT": "replace", "PATCH": "change", "DELETE": "delete"}


def _singular(noun: str) -> str:
    if noun.endswith("ies"):
        return f"{noun[:-3]}y"
    return noun.removesuffix("s") if not noun.endswith("ss") else noun


def _camel(words: Sequence[str]) -> str:
    first, *rest = [part for word in words for part in re.split(r"[^A-Za-z0-9]", word) if part]
    return first + "".join(it[0].upper() + it[1:] for it in rest)


# --- one operation ---------------------------------------------------------------------------------------------------


def _operation(it: Described, table: Sequence[Described], schemas: Schemas) -> Json:
    summary, _, _ = it.doc.partition("\n\n")
    shown: Json = {
        "operationId": it.id,
        "summary": summary.partition(". ")[0].rstrip("."),
        "description": it.doc,
        "tags": [it.tag],
        "security": _security(it.method, it.scope, it.face.header) if it.scope else [],
    }
    parameters = [*_path_parameters(it.path), *_query_parameters(it.query), *_header_parameters(it.headers)]
    if parameters:
        shown["parameters"] = parameters
    if it.bodies:
        content = {media_type: {"schema": schemas.of(body, "validation")} for media_type, body in it.bodies.items()}
        shown["requestBody"] = {"required": not it.body_optional, "content": content}
    shown["responses"] = {**_answers(it, table, schemas), **_refusals(it, schemas)}
    return shown


def _path_parameters(path: str) -> Iterator[Json]:
    segments = path.split("/")
    for place, segment in enumerate(segments):
        if segment.startswith("{"):
            thing = _singular(segments[place - 1]).replace("-", " ")
            yield {
                "name": segment[1:-1],
                "in": "path",
                "required": True,
                "description": f"Id of the {thing}.",
                "schema": {"type": "string", "minLength": 1},
            }


def _query_parameters(query: Sequence[Parameter]) -> Iterator[Json]:
    for it in query:
        if it is FILTERS:
            yield from filter_parameters()
            continue
        schema = it.schema()
        separated = {"style": "form", "explode": False} if schema.get("type") == "array" else {}
        required = {"required": True} if isinstance(it, Text) and it.required else {}
        yield {"name": it.name, "in": "query", "description": it.doc, **required, "schema": schema, **separated}


def _header_parameters(headers: Sequence[Parameter]) -> Iterator[Json]:
    for it in headers:
        yield {"name": it.name, "in": "header", "description": it.doc, "schema": it.schema()}


def _answers(it: Described, table: Sequence[Described], schemas: Schemas) -> Json:
    answers: dict[str, Json] = {}
    for answer in it.answers:
        shown: Json = answers.setdefault(str(answer.status), {"description": _meaning(answer, schemas)})
        names = [
            *answer.headers,
            *(["monitor-position"] if MIN_POSITION in it.query else []),
            *(_OF_RATES if it.scope else []),
        ]
        if names:
            shown["headers"] = {name: HEADERS[name] for name in dict.fromkeys(names)}
        if answer.media_types and (answer.document is not None or answer.media_types != ("application/json",)):
            schema = _TEXT if answer.document is None else schemas.of(answer.document, "serialization")
            shown.setdefault("content", {}).update(
                {media_type: {"schema": schema} for media_type in answer.media_types}
            )
        if links := _links(it, answer, table, schemas):
            shown["links"] = links
    return answers


_OF_RATES: Final = ("ratelimit-limit", "ratelimit-remaining", "ratelimit-reset")

_TEXT: Final[Json] = {"type": "string"}


def _meaning(answer: Answer, schemas: Schemas) -> str:
    if answer.status == 304:
        return "The version that If-None-Match names is the current one."
    if answer.document is None:
        return "Done." if answer.media_types in ((), ("application/json",)) else "The document."
    return str(schemas.resolved(schemas.of(answer.document, "serialization")).get("description", "The document."))


def _refusals(it: Described, schemas: Schemas) -> Json:
    """One answer for each status, whose schema names every code that it may carry."""
    by_status: dict[int, list[type[MonitorError]]] = {}
    for kind in it.refusals:
        by_status.setdefault(it.face.status_of(kind), []).append(kind)
    return {
        str(status): {
            "description": "\n".join(sorted({f"`{kind.code}`: {_first_line(kind)}" for kind in kinds})),
            **(
                {"headers": {"retry-after": HEADERS["retry-after"]}}
                if any(kind.retryable or kind.retry_after_s is not None for kind in kinds)
                else {}
            ),
            "content": {"application/json": {"schema": _schema_of_refusals(it.face, kinds, schemas)}},
        }
        for status, kinds in by_status.items()
        if str(status) not in {str(answer.status) for answer in it.answers}
    }


def _first_line(kind: type[MonitorError]) -> str:
    return (kind.__doc__ or "").partition("\n")[0]


def _schema_of_refusals(face: Face, kinds: Iterable[type[MonitorError]], schemas: Schemas) -> Json:
    if face.document is not None:
        return schemas.of(face.document, "serialization")
    return _error_schema(sorted({kind.code for kind in kinds}))


def _error_schema(codes: Sequence[str]) -> Json:
    named = {"type": "object", "properties": {"error": {"properties": {"code": {"enum": list(codes)}}}}}
    return {"allOf": [{"$ref": "#/components/schemas/Error"}, named]}


_ERROR: Final[Json] = {
    "type": "object",
    "description": "Why a request was not carried out. `code` is for programs, `message` for people.",
    "properties": {
        "error": {
            "type": "object",
            "properties": {
                "code": {"type": "string"},
                "message": {"type": "string"},
                "timestamp": {"type": "string", "format": "date-time"},
                "field": {"type": ["string", "null"], "description": "Parameter or member at fault."},
            },
            "required": ["code", "message", "timestamp"],
            "additionalProperties": True,
        }
    },
    "required": ["error"],
    "additionalProperties": False,
}


# --- links -----------------------------------------------------------------------------------------------------------


_NAMED_IDS: Final = {"executionId": "/v1/executions/{id}", "webhookId": "/v1/webhooks/{id}"}
"""Where members of answers lead to that name something else than what the answer shows."""


def _links(it: Described, answer: Answer, table: Sequence[Described], schemas: Schemas) -> Json:
    """What can be done next with the ids in an answer, by name of the operation."""
    if answer.document is None or it.method == "DELETE":
        return {}
    own = answer.leads_to or (it.path if it.path.endswith("}") else f"{it.path}/{{id}}")
    below_own = re.compile(rf"{re.escape(own)}(/[^{{]*)?")
    links: Json = {}
    for pointer, properties in _objects(schemas.resolved(schemas.of(answer.document, "serialization")), schemas):
        for other in table:
            if "id" in properties and below_own.fullmatch(other.path):
                links[other.id] = _link(other, f"{pointer}/id")
            elif other.method == "GET" and (named := _named(other.path)) in properties:
                links[other.id] = _link(other, f"{pointer}/{named}")
    return links


def _named(path: str) -> str | None:
    return next((name for name, address in _NAMED_IDS.items() if address == path), None)


def _link(other: Described, pointer: str) -> Json:
    return {"operationId": other.id, "parameters": {"id": f"$response.body#{pointer}"}}


def _objects(document: Json, schemas: Schemas) -> Iterator[tuple[str, Json]]:
    """The members of a document, and of the first in a page of them, each with the pointer to where they stand."""
    properties = document.get("properties", {})
    yield "", properties
    items = schemas.resolved(properties.get("data", {})).get("items")
    if items is not None:
        yield "/data/0", schemas.resolved(items).get("properties", {})


def _documents(table: Iterable[Described]) -> Iterator[tuple[object, Mode]]:
    """Every document that is taken or answered."""
    for it in table:
        yield from ((body, "validation") for body in it.bodies.values())
        yield from ((answer.document, "serialization") for answer in it.answers if answer.document is not None)
        if it.face.document is not None:
            yield it.face.document, "serialization"


def plain_text(doc: str | None) -> str:
    """A docstring without the indentation of its later lines; lines that only break a sentence are joined."""
    lines = [line.strip() for line in (doc or "").strip().splitlines()]
    return re.sub(r"(?<!\n)\n(?!\n)", " ", "\n".join(lines))
