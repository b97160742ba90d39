"""Posting: one attempt at a delivery, from its row to the answer. For the deliverer and for test sends."""

from typing import Final

import msgspec
import structlog

from monitor.access.sealing import Sealer
from monitor.webhooks.delivery import Answer, Claimed
from monitor.webhooks.endpoint import HEADERS_PURPOSE, SECRET_PURPOSE, live_secrets
from monitor.webhooks.sender import Sender
from monitor.webhooks.signing import signed_headers

_decode_headers: Final = msgspec.msgpack.Decoder(dict[str, str]).decode


class Poster:
    """Opens what is sealed, signs and sends."""

    def __init__(self, sender: Sender, sealer: Sealer) -> None:
        self._sender, self._sealer = sender, sealer
        self._log = structlog.get_logger("webhooks")

    async def post(self, claimed: Claimed, now_us: int) -> Answer:
        """What came of it. Raises nothing but CancelledError: trouble with one endpoint is nobody else's."""
        try:
            headers = self._headers(claimed, now_us)
            return await self._sender.send(claimed.endpoint.url, headers, claimed.body, claimed.endpoint.timeout_s)
        except Exception:  # noqa: BLE001 - the rim: it must not end the deliveries to all
            self._log.exception("could not attempt a delivery", delivery=claimed.id)
            return Answer(None, "internal")

    def _headers(self, claimed: Claimed, now_us: int) -> dict[str, str]:
        endpoint = claimed.endpoint
        keys = [self._sealer.open(SECRET_PURPOSE, secret.sealed) for secret in live_secrets(endpoint, now_us)]
        own: dict[str, str] = {}
        if endpoint.sealed_headers is not None:
            own = _decode_headers(self._sealer.open(HEADERS_PURPOSE, endpoint.sealed_headers))
        return {**own, **signed_headers(claimed.id, now_us // 1_000_000, claimed.body, keys)}
