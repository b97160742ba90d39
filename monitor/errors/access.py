"""Who asks, and what that one may do."""

from typing import ClassVar

from monitor.errors.tree import ClientError, NotFound


class InsufficientPermissions(ClientError):
    """Your role does not reach this address."""

    code = "INSUFFICIENT_PERMISSIONS"
    status = 403


class ForeignTeam(ClientError):
    """User does not have access to this team."""

    code = "FOREIGN_TEAM"
    status = 403


class Unauthenticated(ClientError):
    """This needs a token: send it as `Authorization: Bearer mon_...`."""

    code = "AUTHENTICATION_REQUIRED"
    status = 401
    # What WWW-Authenticate adds to the scheme (RFC 6750, 3.1).
    challenge: ClassVar[str] = 'error="invalid_token"'


class TokenMissing(Unauthenticated):
    """This needs a token: send it as `Authorization: Bearer mon_...`."""

    challenge = ""


class TokenMalformed(Unauthenticated):
    """The Authorization header holds no token; send one, as `Authorization: Bearer mon_...`."""

    code = "TOKEN_MALFORMED"


class TokenInvalid(Unauthenticated):
    """The token is not one of this service."""

    code = "TOKEN_INVALID"


class TokenExpired(Unauthenticated):
    """The token has expired; ask an administrator of your team for a new one."""

    code = "TOKEN_EXPIRED"


class TokenRevoked(Unauthenticated):
    """The token was revoked; ask an administrator of your team for a new one."""

    code = "TOKEN_REVOKED"


class TicketInvalid(Unauthenticated):
    """The ticket is not good, or not any more: each lets in once, within 30 seconds. Ask for another one."""

    code = "TICKET_INVALID"


class SessionInvalid(Unauthenticated):
    """The session has ended; sign in again."""

    code = "SESSION_INVALID"


class CsrfTokenMissing(ClientError):
    """A page that changes something shows `csrfToken` of `GET /v1/session` as `X-CSRF-Token`."""

    code = "CSRF_TOKEN_MISSING"
    status = 403


class TokenInUrl(ClientError):
    """A token does not belong into a URL, which others log and keep: send it as `Authorization: Bearer mon_...`."""

    code = "TOKEN_IN_URL"


class AddressNotAllowed(ClientError):
    """The token does not admit this address."""

    code = "ADDRESS_NOT_ALLOWED"
    status = 403


class TokenNotFound(NotFound):
    """There is no such token."""

    code = "TOKEN_NOT_FOUND"


class InvalidToken(ClientError):
    """The token cannot be made like this."""

    code = "INVALID_TOKEN"
    status = 422
