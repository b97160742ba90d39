"""Secrets are replaced without a gap: old and new sign until the old one expires or is revoked, and three at most."""

import base64
from collections.abc import AsyncIterator
from hashlib import sha256
from typing import Any

import httpx
import pytest

from monitor.clock import SystemClock
from monitor.webhooks.signing import key_of, secret_of, signed_headers
from tests.support.clocks import ManualClock
from tests.support.house import House, open_house
from tests.support.receiver import LOOPBACK, Request, receiving
from tests.support.webhook_house import client_of, delivering, failed, register

DAY_S = 86_400


@pytest.fixture
async def house() -> House:
    """A service."""
    return await open_house()


@pytest.fixture
def clock() -> ManualClock:
    """A clock ahead of the one that plans deliveries: what is planned is due."""
    return ManualClock(SystemClock().now_us() + 3600 * 1_000_000)


@pytest.fixture
async def client(house: House, clock: ManualClock) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the first team."""
    async with client_of(house, allowed=LOOPBACK, clock=clock) as opened:
        yield opened


def fingerprint(secret: str) -> str:
    """As `printf %s "$SECRET" | sha256sum | cut -c 1-16` prints it."""
    return sha256(secret.encode()).hexdigest()[:16]


def signed_by(request: Request, secrets: list[str]) -> list[str]:
    """Those of `secrets` whose signatures the request carries; it must carry no others."""
    given = request.headers["webhook-signature"].split(" ")
    wanted = {secret: _signature(request, secret) for secret in secrets}
    assert set(given) <= set(wanted.values())
    return [secret for secret, signature in wanted.items() if signature in given]


def _signature(request: Request, secret: str) -> str:
    timestamp_s = int(request.headers["webhook-timestamp"])
    headers = signed_headers(request.headers["webhook-id"], timestamp_s, request.body, [key_of(secret)])
    return headers["webhook-signature"]


async def rotate(client: httpx.AsyncClient, id_: str, **body: Any) -> dict[str, Any]:
    """The answer to a rotation."""
    answer = await client.post(f"/v1/webhooks/{id_}/secret/rotate", json=body)
    assert answer.status_code == 200, answer.text
    rotated: dict[str, Any] = answer.json()
    return rotated


async def test_case_40_old_and_new_sign_while_they_overlap(
    house: House, clock: ManualClock, client: httpx.AsyncClient
) -> None:
    """Case 40: before a rotation the old one signs, during the overlap both do, after it the new one alone."""
    async with receiving() as receiver, delivering(house, clock) as deliverer:
        registered = await register(client, url=receiver.url)
        secrets = [registered["secret"]]

        async def next_signers(number: int) -> list[str]:
            await house.tell(failed(f"exec_{number}"))
            deliverer.wake()
            return signed_by((await receiver.received(number))[-1], secrets)

        assert await next_signers(1) == secrets
        secrets.append((await rotate(client, registered["id"], overlapSeconds=100))["secret"])
        assert await next_signers(2) == secrets
        await clock.advance(99)
        assert await next_signers(3) == secrets
        await clock.advance(1)
        assert await next_signers(4) == secrets[1:]


async def test_case_40_fourth_live_key_is_refused(clock: ManualClock, client: httpx.AsyncClient) -> None:
    """Case 40: until one expires, which the answer tells; or until the older ones are revoked."""
    id_ = (await register(client))["id"]
    for overlap_s in (50, 100):
        await rotate(client, id_, overlapSeconds=overlap_s)
    before = (await client.get(f"/v1/webhooks/{id_}/secret")).json()
    refused = await client.post(f"/v1/webhooks/{id_}/secret/rotate", json={})
    error = refused.json()["error"]
    assert (refused.status_code, error["code"]) == (409, "TOO_MANY_SECRETS")
    assert error["expiresAt"] == before["data"][-1]["expiresAt"]
    assert error["expiresAt"] in error["message"]
    assert (await client.get(f"/v1/webhooks/{id_}/secret")).json() == before
    await clock.advance(50)
    assert len((await rotate(client, id_))["data"]) == 3


async def test_rotation_without_overlap_is_never_refused(client: httpx.AsyncClient) -> None:
    """The present secret makes room for the new one at once; older ones go on to their end."""
    id_ = (await register(client))["id"]
    for _ in range(2):
        await rotate(client, id_)
    before = (await client.get(f"/v1/webhooks/{id_}/secret")).json()["data"]
    rotated = await rotate(client, id_, overlapSeconds=0)
    assert rotated["data"][1:] == before[1:]
    assert rotated["data"][0]["fingerprint"] == fingerprint(rotated["secret"])


async def test_what_signs_is_listed_without_the_secrets(clock: ManualClock, client: httpx.AsyncClient) -> None:
    """Newest first, each with its time of birth and death, and a fingerprint that its owner can compute."""
    registered = await register(client)
    id_, old = registered["id"], registered["secret"]
    await clock.advance(10)
    rotated = await rotate(client, id_)
    new = rotated.pop("secret")
    answer = await client.get(f"/v1/webhooks/{id_}/secret")
    assert answer.json() == rotated
    assert (old in answer.text, new in answer.text) == (False, False)
    assert [row["fingerprint"] for row in rotated["data"]] == [fingerprint(new), fingerprint(old)]
    first, second = rotated["data"]
    assert (first["expiresAt"], second["createdAt"]) == (None, registered["createdAt"])
    assert second["expiresAt"] > first["createdAt"] > second["createdAt"]
    await clock.advance(DAY_S)
    assert (await client.get(f"/v1/webhooks/{id_}/secret")).json() == {"data": [first]}


async def test_revoking_ends_all_older_ones_now(client: httpx.AsyncClient) -> None:
    """The current one stays; again, nothing changes."""
    id_ = (await register(client))["id"]
    rotated = [await rotate(client, id_) for _ in range(2)]
    answers = [await client.post(f"/v1/webhooks/{id_}/secret/revoke") for _ in range(2)]
    assert [answer.json() for answer in answers] == [{"data": rotated[-1]["data"][:1]}] * 2
    assert len((await rotate(client, id_))["data"]) == 2


async def test_own_secret_replaces_the_present_one(client: httpx.AsyncClient) -> None:
    """Unless it is in use: then nothing would be replaced."""
    own = secret_of(bytes(range(64)))
    id_ = (await register(client))["id"]
    assert (await rotate(client, id_, secret=own))["secret"] == own
    again = await client.post(f"/v1/webhooks/{id_}/secret/rotate", json={"secret": own})
    assert (again.status_code, again.json()["error"]["field"]) == (422, "secret")
    assert own not in again.text


@pytest.mark.parametrize(
    ("secret", "said"),
    [
        ("", "'secret' does not start with whsec_"),
        ("whsec_", "'secret' holds 0 bytes; it takes 24 to 64"),
        (secret_of(bytes(23)), "'secret' holds 23 bytes; it takes 24 to 64"),
        (secret_of(bytes(65)), "'secret' holds 65 bytes; it takes 24 to 64"),
        ("whsec_" + "!" * 44, "'secret' is not base64 after whsec_"),
        ("whsec_" + "a" * 41, "'secret' is not base64 after whsec_"),
        (base64.b64encode(bytes(32)).decode(), "'secret' does not start with whsec_"),
        ("whsec_" + "ü" * 44, "'secret' is not base64 after whsec_"),
        (7, "'secret': Input should be a valid string"),
    ],
)
async def test_case_43_secret_that_is_none_is_refused(client: httpx.AsyncClient, secret: Any, said: str) -> None:
    """Case 43: too short, too long, not base64 or empty; the answer names the member and does not repeat it."""
    id_ = (await register(client))["id"]
    wish = {"url": "https://example.com/", "events": ["*"], "secret": secret}
    answers = [
        await client.post("/v1/webhooks", json=wish),
        await client.post("/v1/webhooks?dryRun=true", json=wish),
        await client.post(f"/v1/webhooks/{id_}/secret/rotate", json={"secret": secret}),
    ]
    for answer in answers:
        error = answer.json()["error"]
        assert (answer.status_code, error["code"], error["field"]) == (422, "INVALID_WEBHOOK", "secret")
        assert error["message"] == said
    assert len((await client.get(f"/v1/webhooks/{id_}/secret")).json()["data"]) == 1


@pytest.mark.parametrize(
    ("body", "field", "said"),
    [
        ({"overlapSeconds": -1}, "overlapSeconds", "'overlapSeconds': Input should be greater than or equal to 0"),
        ({"overlapSeconds": 604_801}, "overlapSeconds", "'overlapSeconds': Input should be less than or equal to"),
        ({"overlapSeconds": "60"}, "overlapSeconds", "'overlapSeconds': Input should be a valid integer"),
        ({"overlap": 60}, "overlap", "unknown member 'overlap'; did you mean 'overlapSeconds'?"),
    ],
)
async def test_wrong_rotation_is_refused(
    client: httpx.AsyncClient, body: dict[str, Any], field: str, said: str
) -> None:
    """Nothing is rotated by a slip of the pen."""
    id_ = (await register(client))["id"]
    answer = await client.post(f"/v1/webhooks/{id_}/secret/rotate", json=body)
    error = answer.json()["error"]
    assert (answer.status_code, error["field"]) == (422, field)
    assert error["message"].startswith(said)
    assert len((await client.get(f"/v1/webhooks/{id_}/secret")).json()["data"]) == 1
