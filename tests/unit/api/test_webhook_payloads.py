"""Payloads by way of webhooks: a token that may not see them has nobody sent them, and is not shown what was sent."""

from pathlib import Path

import httpx

from monitor.app import create_app
from tests.support.contract.checked import CHECKED
from tests.support.folders import told
from tests.support.tokens import add_token, bearer
from tests.unit.test_expiry import LaterClock, folding

SECRET = "what it worked on"
HOOK = {"url": "https://receiver.example/hook", "events": ["execution.started"]}


async def test_a_token_without_the_scope_gets_no_payload_by_webhook(tmp_path: Path) -> None:
    """It registers thin webhooks, makes none of them full, and sees deliveries without payloads."""
    async with folding(tmp_path / "data", LaterClock(), auth="on") as parts:
        whole = bearer(await add_token(parts.store, "whole"))
        scopes = ("webhooks:read", "webhooks:write")
        narrow = bearer(await add_token(parts.store, "narrow", role="builder", scopes=scopes))
        transport = httpx.ASGITransport(create_app(parts))
        async with httpx.AsyncClient(
            transport=transport, base_url="http://127.0.0.1:8080", event_hooks=CHECKED
        ) as client:
            for address in ("/v1/webhooks", "/v1/webhooks?dryRun=true"):
                refused = await client.post(address, json=HOOK, headers=narrow)
                assert (refused.status_code, refused.json()["error"]["requiredPermission"]) == (403, "executions:data")
            thin = await client.post("/v1/webhooks", json=HOOK | {"payload": "thin"}, headers=narrow)
            assert thin.status_code == 201, thin.text
            full = await client.post("/v1/webhooks", json=HOOK, headers=whole)
            for id_, change in ((thin.json()["id"], {"payload": "full"}), (full.json()["id"], {"url": "https://a.b"})):
                refused = await client.patch(f"/v1/webhooks/{id_}", json=change, headers=narrow)
                assert refused.status_code == 403, refused.text
            about = {"type": "execution.started", "executionId": "e", "workflowId": "w"}
            event = {**about, "timestamp": "2026-11-22T10:00:00Z", "data": {"inputData": SECRET, "mode": "manual"}}
            await told(parts, [event], team="acme")
            rows = await client.get(f"/v1/webhooks/{full.json()['id']}/deliveries", headers=narrow)
            [row] = rows.json()["data"]
            shown = [await client.get(f"/v1/webhook-deliveries/{row['id']}", headers=who) for who in (whole, narrow)]
            assert [SECRET in answer.text for answer in shown] == [True, False]
            assert shown[1].json()["body"]["data"] == {"mode": "manual"}
