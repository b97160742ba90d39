"""What stands around an attachment: the socket that it writes to, and who is connected, for people."""

from typing import NamedTuple, Protocol


class Outlet(Protocol):
    """A socket that takes ready bytes at once and says when it is full."""

    @property
    def is_full(self) -> bool:
        """Whether it holds so much that no more should be written."""
        ...

    @property
    def is_clear(self) -> bool:
        """Whether it holds nothing. When that changes, it wakes the attachment at once."""
        ...

    @property
    def buffered_bytes(self) -> int:
        """What it holds."""
        ...

    def write(self, data: bytes) -> None:
        """Take bytes. It never waits and never fails: a dead socket tells its owner, who ends the attachment."""
        ...

    def send(self, data: bytes) -> int:
        """Take what the socket takes at once, and return how many bytes that is; OSError = none. For clear ones only.

        Whatever is wrong with the socket, the rest is for `write`.
        """
        ...


class Label(NamedTuple):
    """Who is connected, for people."""

    # Names the connection in logs and questions; it grants nothing.
    sid: str
    transport: str
    team: str
    # Address and port.
    client: str
    # Of the token that the connection was opened with; None where nobody was asked.
    token_id: str | None = None
    # Of the browser's session that it was opened in; None outside of any.
    session_id: str | None = None


def send_nowhere(_data: bytes) -> int:
    """Who has no outlet is never parked."""
    return 0
