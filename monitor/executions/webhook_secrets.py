"""The secrets of webhooks at the desk: what signs now, its successor, and the end of its predecessors.

A new secret is shown once; afterwards a fingerprint tells which it is. While one replaces another both sign, so that a
receiver changes over when it suits it. Called by the native face.
"""

from collections.abc import Callable, Sequence
from hashlib import sha256
from typing import Final, NamedTuple

from msgspec.structs import replace

from monitor.access.principal import Principal
from monitor.access.sealing import Sealer
from monitor.clock import Clock
from monitor.errors import InvalidWebhook, TooManySecrets
from monitor.events.codec import format_time
from monitor.executions.audit import Audit
from monitor.executions.webhooks import find_endpoint
from monitor.executions.wishes import checked_key
from monitor.store.base import Reader, Store, Writer
from monitor.webhooks.endpoint import SECRET_PURPOSE, Endpoint, Secret, live_secrets
from monitor.webhooks.signing import KEY_BYTES, secret_of

MOST_SECRETS: Final = 3
"""Signatures in a header: receivers try each, and some proxies cut long headers."""

_FINGERPRINT_CHARACTERS: Final = 16


class Signing(NamedTuple):
    """A secret that signs, without the secret."""

    # Of `printf %s "$SECRET" | sha256sum`, the first characters.
    fingerprint: str
    created_us: int
    # None for the current one.
    expires_us: int | None


class Rotated(NamedTuple):
    """A new secret, shown this once, and all that sign now."""

    secret: str
    signing: Sequence[Signing]

    def __repr__(self) -> str:
        return f"Rotated({self.signing!r})"


class WebhookSecrets:
    """The use cases of secrets. Every method raises WebhookNotFound and StoreUnavailable."""

    def __init__(
        self, *, store: Store, audit: Audit, sealer: Sealer, clock: Clock, random_bytes: Callable[[int], bytes]
    ) -> None:
        """`random_bytes` gives as many as it is asked for, fit for secrets."""
        self._store, self._audit, self._sealer = store, audit, sealer
        self._clock, self._random_bytes = clock, random_bytes

    async def signing(self, who: Principal, endpoint_id: str) -> Sequence[Signing]:
        """What signs now, newest first."""

        def work(reader: Reader) -> Sequence[Signing]:
            return self._shown(find_endpoint(reader, who, endpoint_id))

        return await self._store.read(work)

    async def rotate(self, who: Principal, endpoint_id: str, overlap_s: int, own: str | None) -> Rotated:
        """A new secret, `own` or a random one; the present one signs beside it for `overlap_s` seconds more.

        Raises InvalidWebhook for an own secret that is none or in use, and TooManySecrets.
        """
        key = self._random_bytes(KEY_BYTES) if own is None else checked_key(own)

        def work(writer: Writer) -> Rotated:
            endpoint, now_us = find_endpoint(writer, who, endpoint_id), self._clock.now_us()
            current, *older = live_secrets(endpoint, now_us)
            if key in map(self._key_of, (current, *older)):
                raise InvalidWebhook("'secret' is in use already", field="secret")
            if overlap_s:
                older.insert(0, replace(current, expires_us=now_us + overlap_s * 1_000_000))
            _check_number(older)
            secrets = (Secret(self._sealer.seal(SECRET_PURPOSE, key), now_us), *older)
            self._audit.note(writer, who, "webhook.rotate-secret", endpoint_id, overlapSeconds=overlap_s)
            return Rotated(secret_of(key), self._replace(writer, endpoint, secrets, now_us))

        return await self._store.write(work, durable=True)

    async def revoke(self, who: Principal, endpoint_id: str) -> Sequence[Signing]:
        """The current secret alone: all older ones sign no more."""

        def work(writer: Writer) -> Sequence[Signing]:
            endpoint = find_endpoint(writer, who, endpoint_id)
            self._audit.note(writer, who, "webhook.revoke-secrets", endpoint_id)
            return self._replace(writer, endpoint, endpoint.secrets[:1], self._clock.now_us())

        return await self._store.write(work, durable=True)

    def _replace(
        self, writer: Writer, endpoint: Endpoint, secrets: tuple[Secret, ...], now_us: int
    ) -> Sequence[Signing]:
        changed = replace(endpoint, secrets=secrets, updated_us=now_us)
        writer.update_endpoint(changed)
        return self._shown(changed)

    def _shown(self, endpoint: Endpoint) -> Sequence[Signing]:
        live = live_secrets(endpoint, self._clock.now_us())
        return [Signing(_fingerprint(self._key_of(it)), it.created_us, it.expires_us) for it in live]

    def _key_of(self, secret: Secret) -> bytes:
        return self._sealer.open(SECRET_PURPOSE, secret.sealed)


def _check_number(older: Sequence[Secret]) -> None:
    if len(older) < MOST_SECRETS:
        return
    expires_at = format_time(min(it.expires_us for it in older if it.expires_us is not None))
    raise TooManySecrets(
        f"{MOST_SECRETS} secrets sign at most, and one expires at {expires_at}; revoke the older ones to rotate sooner",
        expiresAt=expires_at,
    )


def _fingerprint(key: bytes) -> str:
    return sha256(secret_of(key).encode()).hexdigest()[:_FINGERPRINT_CHARACTERS]
