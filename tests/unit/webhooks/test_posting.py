"""An attempt carries what its endpoint asked for, is signed by every live key, and keeps no secret of the answer."""

from datetime import UTC, datetime
from typing import Any

import pytest
from msgspec.structs import replace
from standardwebhooks.webhooks import Webhook

from monitor.access.sealing import Sealer
from monitor.webhooks.delivery import Answer, Claimed
from monitor.webhooks.endpoint import HEADERS_PURPOSE, SECRET_PURPOSE, Secret
from monitor.webhooks.headers import pack
from monitor.webhooks.posting import Poster
from monitor.webhooks.sender import open_sender
from monitor.webhooks.signing import secret_of
from monitor.webhooks.targets import Targets
from tests.support.receiver import LOOPBACK, Receiver, answering, receiving
from tests.support.webhooks import KEY, NOW_US, make_endpoint

SEALER = Sealer(bytes(32))
OLD, EXPIRED = bytes(range(1, 33)), bytes(range(2, 34))
PASSWORD = "correct horse battery staple"

BODY = '{"type":"execution.failed","data":{"text":"a.b\\n\\u0000 \U0001f980 ü"}}'.encode()


async def attempted(receiver: Receiver, **members: Any) -> Answer:
    """One attempt of an endpoint whose key replaced two others: one that still signs, and one that does not."""
    secrets = (
        Secret(SEALER.seal(SECRET_PURPOSE, KEY), NOW_US),
        Secret(SEALER.seal(SECRET_PURPOSE, OLD), NOW_US, NOW_US + 1),
        Secret(SEALER.seal(SECRET_PURPOSE, EXPIRED), NOW_US, NOW_US),
    )
    endpoint = replace(make_endpoint(url=receiver.url), **{"secrets": secrets} | members)
    claimed = Claimed(
        key=1,
        id="msg_1",
        endpoint=endpoint,
        body=BODY,
        n=1,
        step=0,
        lease="lease",
        trigger="event",
        is_probe=False,
        planned_us=NOW_US,
        first_us=NOW_US,
    )
    async with open_sender(Targets(LOOPBACK)) as sender:
        return await Poster(sender, SEALER).post(claimed, NOW_US)


@pytest.mark.parametrize(
    ("key", "signs"), [(KEY, True), (OLD, True), (EXPIRED, False)], ids=["current", "old", "expired"]
)
async def test_case_39_and_40_every_live_key_signs_the_bytes_on_the_wire(key: bytes, signs: bool) -> None:
    """The specification's own library verifies what arrived, under the current key and the one that it replaced."""
    async with receiving() as receiver:
        await attempted(receiver)
    [request] = receiver.requests
    assert request.body == BODY
    assert (int(request.headers["webhook-timestamp"]), request.headers["webhook-id"]) == (NOW_US // 1_000_000, "msg_1")
    given = request.headers["webhook-signature"].split(" ")
    assert len(given) == 2
    # That library knows no other time than now, so that its signature is compared instead of verified.
    at = datetime.fromtimestamp(NOW_US // 1_000_000, UTC)
    assert (Webhook(secret_of(key)).sign("msg_1", at, BODY.decode()) in given) is signs


async def test_own_headers_are_sent_along() -> None:
    """Unsealed for the request, beside those that are signed."""
    sealed = SEALER.seal(HEADERS_PURPOSE, pack({"X-Key": PASSWORD}))
    async with receiving() as receiver:
        await attempted(receiver, sealed_headers=sealed, header_names=("X-Key",))
    assert receiver.requests[0].headers["x-key"] == PASSWORD


async def test_case_32_secrets_that_come_back_are_masked() -> None:
    """The key, the endpoint's own headers and tokens of the receiver stand nowhere in what is kept."""
    sealed = SEALER.seal(HEADERS_PURPOSE, pack({"X-Key": PASSWORD}))
    said = f"no: {PASSWORD} and {secret_of(KEY)}; Authorization: Bearer abc.def.ghi".encode()
    async with receiving() as receiver:
        receiver.behave(answering(401, said, location=f"https://elsewhere.example/?key={PASSWORD}"))
        answer = await attempted(receiver, sealed_headers=sealed, header_names=("X-Key",))
    kept = answer.body + repr(answer.headers).encode()
    assert (answer.status, answer.body[:7]) == (401, b"no: ***")
    assert not any(secret in kept for secret in (PASSWORD.encode(), secret_of(KEY).encode(), b"abc.def.ghi"))


async def test_unreadable_key_is_our_own_failure() -> None:
    """Nothing is sent, and the attempt says so."""
    async with receiving() as receiver:
        answer = await attempted(receiver, secrets=(Secret(b"foreign", NOW_US),))
    assert (answer, receiver.requests) == (Answer(None, "internal"), [])
