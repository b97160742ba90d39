"""Posting: one attempt at a delivery, from its row to the answer. For the deliverer and for test sends."""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Final

import structlog
from msgspec.structs import replace

from monitor.access.masking import DEFAULT_RULES, Masking
from monitor.access.sealing import Sealer
from monitor.webhooks.delivery import Answer, Claimed
from monitor.webhooks.endpoint import HEADERS_PURPOSE, SECRET_PURPOSE, Endpoint, live_secrets
from monitor.webhooks.headers import unpack
from monitor.webhooks.sender import Sender
from monitor.webhooks.signing import signed_headers

_OPENED: Final = 4_096
"""Seals whose content is remembered: opening one takes longer than signing with it."""


class Poster:
    """Opens what is sealed, signs and sends."""

    def __init__(self, sender: Sender, sealer: Sealer, masking: Masking | None = None) -> None:
        """`masking` are the rules for what receivers say back; None = the default ones."""
        self._sender, self._masking = sender, masking or Masking(DEFAULT_RULES)
        self._open = lru_cache(_OPENED)(sealer.open)
        self._log = structlog.get_logger("webhooks")

    async def post(self, claimed: Claimed, now_us: int) -> Answer:
        """What came of it. Raises nothing but CancelledError: trouble with one endpoint is nobody else's."""
        try:
            keys, own = self._opened(claimed.endpoint, now_us)
            headers = {**own, **signed_headers(claimed.id, now_us // 1_000_000, claimed.body, keys)}
            answer = await self._sender.send(claimed.endpoint.url, headers, claimed.body, claimed.endpoint.timeout_s)
            return self._masked(answer, [*keys, *(value.encode() for value in own.values())])
        except Exception:  # noqa: BLE001 - the rim: it must not end the deliveries to all
            self._log.exception("could not attempt a delivery", delivery=claimed.id)
            return Answer(None, "internal")

    def _opened(self, endpoint: Endpoint, now_us: int) -> tuple[list[bytes], Mapping[str, str]]:
        """The keys that sign now, and the endpoint's own headers."""
        keys = [self._open(SECRET_PURPOSE, secret.sealed) for secret in live_secrets(endpoint, now_us)]
        if endpoint.sealed_headers is None:
            return keys, {}
        return keys, unpack(self._open(HEADERS_PURPOSE, endpoint.sealed_headers))

    def _masked(self, answer: Answer, secrets: Sequence[bytes]) -> Answer:
        """Without what a receiver says back of what it was sent, or of its own: the log is read by others."""
        if not answer.body and not answer.headers:
            return answer
        headers = {name: self._masking.masked_text(value, secrets) for name, value in answer.headers.items()}
        return replace(answer, body=self._masking.masked_text(answer.body, secrets), headers=headers)
