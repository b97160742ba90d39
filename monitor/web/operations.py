"""The route table: every operation of the API is declared once, and served, guarded and described by its declaration.

`routed` makes the routes: it authenticates, checks the scope and the names of parameters, and only then calls the
handler. `contract` renders the same declarations as OpenAPI, and tests walk through them: a new operation is guarded,
described and tried for isolation without anybody thinking of it.
"""

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from monitor.access.principal import Principal
from monitor.access.roles import Scope
from monitor.errors import MonitorError
from monitor.web.auth import Authenticate, permit
from monitor.web.faces import NATIVE, Face
from monitor.web.params import Parameter, check_declared
from monitor.web.paths import IdRoute
from monitor.web.rates import Rates

Handler = Callable[[Request, Principal], Awaitable[Response]]
"""Answers one operation to a principal that may ask it. Its docstring is the operation's description."""


Handled = Callable[[Request, Principal], Awaitable[None]]
"""Takes note of a request."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What an operation answers with when all is well."""

    # Python's type of the document (a TypedDict, or a pydantic model); None = no body, or none that JSON describes.
    document: object = None
    status: int = 200
    media_types: tuple[str, ...] = ("application/json",)
    # Names in `contract.HEADERS`, of those that only some answers have.
    headers: tuple[str, ...] = ()
    # The address of what the answer tells the id of, where that is not one below its own; see `contract`.
    leads_to: str = ""


@dataclass(frozen=True, slots=True)
class Operation:
    """One method of one address."""

    method: str
    path: str
    handler: Handler
    # What a principal needs for it.
    scope: Scope
    _: KW_ONLY
    query: Sequence[Parameter] = ()
    # Headers that change what it does.
    headers: Sequence[Parameter] = ()
    # The pydantic model of the body, or one for each media type; None = takes none.
    body: object = None
    body_optional: bool = False
    body_types: tuple[str, ...] = ("application/json",)
    answers: Sequence[Answer] = (Answer(),)
    # What it refuses with, beside what every operation does (credentials, parameters, bodies, unavailability).
    errors: Sequence[type[MonitorError]] = ()
    # What generated clients call it; "" = what follows from method and path.
    name: str = ""
    # How it is spelt.
    face: Face = NATIVE
    # Awaited before somebody without the scope is told so.
    on_refused: Handled | None = None


@dataclass(frozen=True, slots=True)
class Open:
    """One address that everybody may read: it tells of the service, never of an execution."""

    path: str
    # Answers; its docstring is the description.
    handler: Callable[[Request], Awaitable[Response]]
    _: KW_ONLY
    answers: Sequence[Answer] = (Answer(),)
    errors: Sequence[type[MonitorError]] = ()
    # As of an Operation.
    name: str = ""


def open_routes(addresses: Iterable[Open]) -> list[Route]:
    """The routes of addresses without credentials."""
    return [Route(address.path, address.handler) for address in addresses]


def routed(operations: Iterable[Operation], authenticate: Authenticate, rates: Rates | None = None) -> list[Route]:
    """The routes of `operations`: one for each address, named ones before those with a parameter in their place."""
    addresses: dict[str, dict[str, Operation]] = {}
    for operation in operations:
        addresses.setdefault(operation.path, {})[operation.method] = operation
    return [
        IdRoute(path, _Address(addresses[path], authenticate, rates).serve, methods=list(addresses[path]))
        for path in sorted(addresses, key=_specificity)
    ]


@dataclass(frozen=True, slots=True)
class _Address:
    operations: Mapping[str, Operation]
    authenticate: Authenticate
    # None = nobody is limited.
    rates: Rates | None

    async def serve(self, request: Request) -> Response:
        """What the operation of the request's method answers to whoever may ask it."""
        operation = self.operations["GET" if request.method == "HEAD" else request.method]
        who = await self.authenticate(request.scope)
        rate = self.rates.take(who) if self.rates else None
        told = rate.headers() if rate else {}
        try:
            if operation.on_refused is not None and not who.may(operation.scope):
                await operation.on_refused(request, who)
            permit(who, operation.scope)
            check_declared(request.query_params, operation.query)
            response = await operation.handler(request, who)
        except MonitorError as error:
            error.headers = {**error.headers, **told}
            raise
        response.headers.update(told)
        return response


def _specificity(path: str) -> list[bool]:
    return [segment.startswith("{") for segment in path.split("/")]
