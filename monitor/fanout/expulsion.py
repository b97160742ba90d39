"""Expulsion: whose token or session has ended loses its streams, also the one that it opens at that very moment."""

from collections import OrderedDict
from typing import Final

from monitor.errors import MonitorError, SessionInvalid, TokenRevoked
from monitor.fanout.attachment import Attachment
from monitor.fanout.controls import Problem
from monitor.fanout.outlet import Label

_REMEMBERED: Final = 10_000
"""Of those that ended last: whoever was let in right before attaches within moments."""


class Expulsion:
    """What has ended lately."""

    def __init__(self) -> None:
        self._ended: OrderedDict[str, None] = OrderedDict()

    def add(self, credential: str) -> None:
        """A token or a session, by its id, is good no more."""
        self._ended[credential] = None
        self._ended.move_to_end(credential)
        if len(self._ended) > _REMEMBERED:
            self._ended.popitem(last=False)

    def apply(self, attachment: Attachment) -> None:
        """End it if it was opened with one of them; who reads is told which."""
        error = self._reason(attachment.label)
        if error is not None:
            attachment.say("stream.error", Problem(code=error.code, message=error.message))
            attachment.end("unauthorized")

    def _reason(self, label: Label) -> MonitorError | None:
        if label.token_id in self._ended:
            return TokenRevoked()
        return SessionInvalid() if label.session_id in self._ended else None
