"""What addresses that can reveal have in common."""

from starlette.requests import Request

from monitor.access.principal import Principal
from monitor.errors import InsufficientPermissions
from monitor.executions.reveals import Reveals
from monitor.web.operations import Handled


def reveals_refused(reveals: Reveals, of: str) -> Handled:
    """Tells the audit of those who ask to reveal where they may not even ask."""

    async def note(request: Request, who: Principal) -> None:
        if "true" in request.query_params.getlist("reveal"):
            await reveals.refused(who, request.path_params["id"], InsufficientPermissions.code, of=of)

    return note
