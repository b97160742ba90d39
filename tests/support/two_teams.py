"""Two teams in one service, with the same ids of everything: what is one's carries its mark, and must stay there."""

import asyncio
import json
import re
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import httpx

from monitor.access.roles import SCOPES, Scope
from monitor.app import Parts, open_parts, operations_of
from monitor.errors import MonitorError
from monitor.events.codec import format_time
from monitor.events.model import TEAM_HEADER, Entry
from monitor.serving import running
from monitor.settings import read_settings
from monitor.web.faces import Refusal
from monitor.web.operations import Operation
from tests.support.receiver import Receiver, receiving
from tests.support.service import eventually
from tests.support.tokens import bearer

AT: Final = "2026-11-22T10:30:0{}Z"

BODIES: Final[Mapping[tuple[str, str], Any]] = {
    ("POST", "/v1/events"): {"type": "execution.started", "executionId": "new", "timestamp": AT.format(0)},
    ("POST", "/v1/webhooks"): {"url": "http://127.0.0.1:9/", "events": ["execution.failed"], "disabled": True},
    ("PATCH", "/v1/executions/{id}"): {"vote": "up"},
    ("POST", "/v1/quarantine/resume"): {"partition": 0},
    **{
        ("POST", f"/v1/executions/bulk/{kind}"): {"filter": {"status": "failed"}, "dryRun": True}
        for kind in ("stop", "retry", "delete")
    },
    ("PATCH", "/v1/webhooks/{id}"): {"name": "renamed"},
    ("POST", "/v1/webhooks/{id}/replay"): {"since": "2026-01-01T00:00:00Z", "status": ["delivered"]},
    ("POST", "/v1/exports"): {"filter": {"status": "failed"}},
    ("POST", "/v1/tokens"): {"name": "another", "role": "viewer"},
    ("POST", "/api/v1/executions/stopMany"): {"filter": {"status": ["waiting"]}},
    ("POST", "/api/v1/executions/stop"): {"status": ["waiting"]},
    ("POST", "/api/v1/executions/delete"): {"ids": ["exec_2"]},
    ("PATCH", "/api/v1/executions/{id}"): {"annotation": {"vote": "up"}},
    ("PUT", "/api/v1/executions/{id}/tags"): [{"id": "urgent"}],
}
"""What each operation with a body is sent; one that is not here is sent an empty object."""

QUERIES: Final[Mapping[tuple[str, str], Mapping[str, str]]] = {("GET", "/api/executions"): {"workflowId": "wf_1"}}
"""What operations are asked that need to be asked something."""


@dataclass
class Team:
    """One of the two: its administrator's token, its mark, and the ids of what it has, by the word in their address."""

    name: str
    mark: str
    # Ends the ids that it alone has.
    number: int
    token: str = ""
    ids: dict[str, str] = field(default_factory=dict)

    @property
    def headers(self) -> dict[str, str]:
        """What shows the token."""
        return bearer(self.token)


UNKNOWN: Final = {
    "executions": "unknown_1",
    "nodes": "node_1",
    "workflows": "unknown_wf",
    "commands": "unknown_cmd",
    "bulk-jobs": f"bulk_{'0' * 24}",
    "exports": f"exp_{'0' * 24}",
    "webhooks": f"wh_{'0' * 24}",
    "webhook-deliveries": f"dl_{'0' * 24}",
    "webhook-replays": f"rp_{'0' * 24}",
    "tokens": f"tok_{'0' * 16}",
    "quarantine": f"qr_{'9' * 12}",
    "team": "nobody",
}
"""Ids that nobody has, by the word that stands before them in addresses: a new kind of thing is added here and to
`Teams._fill`.
"""


def address(operation: Operation, ids: Mapping[str, str]) -> str:
    """The path of an operation with `ids` in it. Fails for a kind of thing that nobody has described here."""
    segments = operation.path.split("/")
    for place, segment in enumerate(segments):
        if segment.startswith("{"):
            kind = segments[place - 1]
            assert kind in ids, f"{operation.path}: tests/support/two_teams.py has no '{kind}'"
            segments[place] = ids[kind]
    return "/".join(segments)


class Teams:
    """Made by `open_teams`; `ours` asks, `theirs` must not be heard of."""

    def __init__(self, parts: Parts, url: str, client: httpx.AsyncClient, receivers: Mapping[str, Receiver]) -> None:
        self.parts, self.url, self.client, self.receivers = parts, url, client, receivers
        self.operations = operations_of(parts)
        self.ours = Team("acme", "apple-1c7e", 1)
        self.theirs = Team("zeta", "zebra-7f3a", 2)
        self._root: dict[str, str] = {}
        self._others = 0

    async def ask(
        self, operation: Operation, ids: Mapping[str, str], headers: Mapping[str, str], **params: str
    ) -> httpx.Response:
        """The answer to an operation, with a body where it takes one."""
        body = None
        if operation.method in ("POST", "PATCH", "PUT") and operation.body is not None:
            body = json.dumps(BODIES.get((operation.method, operation.path), {}))
        return await self.client.request(
            operation.method,
            address(operation, ids),
            headers={**headers, **({} if body is None else {"content-type": "application/json"})},
            content=body,
            params={**QUERIES.get((operation.method, operation.path), {}), **params},
        )

    async def token(self, team: str, **wish: Any) -> dict[str, Any]:
        """A new token of a team."""
        answer = await self.client.post(
            "/v1/tokens", json={"name": "t", "role": "admin", "team": team, **wish}, headers=self._root
        )
        assert answer.status_code == 201, answer.text
        made: dict[str, Any] = answer.json()
        return made

    async def token_without(self, scope: Scope) -> dict[str, str]:
        """The header of an administrator of ours who has every scope but one."""
        return bearer((await self.token("acme", scopes=[it for it in SCOPES if it != scope]))["token"])

    async def told(self, team: Team, *events: Mapping[str, Any]) -> None:
        """Send events of a team, and return when they are applied."""
        answer = await self.client.post("/v1/events", json=list(events), headers=team.headers)
        assert answer.status_code == 200, answer.text
        position = answer.json()["position"]
        await eventually(lambda: self._has_reached(team, position))

    async def _has_reached(self, team: Team, position: str) -> bool:
        asked = await self.client.get("/v1/executions", params={"minPosition": position}, headers=team.headers)
        return asked.status_code == 200

    async def fill(self) -> None:
        """Give both teams everything."""
        made = await self.parts.tokens.first()
        assert made is not None
        self._root = bearer(made.text)
        for team in (self.ours, self.theirs):
            team.token = (await self.token(team.name, name=team.mark))["token"]
            await self._fill(team)

    async def _fill(self, team: Team) -> None:
        only, workflow_id = f"only_{team.number}", f"wf_only_{team.number}"
        hook = {"url": self.receivers[team.name].url, "events": ["execution.*"], "name": team.mark}
        hooks = [await self._made(team, "/v1/webhooks", {**hook, "headers": {"x-mark": team.mark}}) for _ in range(2)]
        for execution_id in ("exec_1", "exec_2", only):
            parent = {} if execution_id == only else {"parent": {"executionId": only}}
            told = story(execution_id, workflow_id if execution_id == only else "wf_1", team.mark, **parent)
            await self.told(team, *told)
        command_id = f"cmd_only_{team.number}"
        await self.told(team, *asked(only, workflow_id, command_id, team.mark))
        deliveries = f"/v1/webhooks/{hooks[0]['id']}/deliveries"
        await eventually(lambda: self._are_delivered(team, deliveries))
        rows = (await self.client.get(deliveries, headers=team.headers)).json()["data"]
        replays = [await self._replayed(team, hooks[0]["id"]) for _ in range(2)]
        for made in hooks:
            await self._made(team, f"/v1/webhooks/{made['id']}/pause", None)
        tokens = [await self.token(team.name, name=team.mark) for _ in range(2)]
        team.ids = {
            "executions": only,
            "nodes": "node_1",
            "workflows": workflow_id,
            "commands": command_id,
            "bulk-jobs": await self._done_job(team, only),
            "exports": await self._written(team),
            "webhooks": hooks[0]["id"],
            "webhook-deliveries": rows[0]["id"],
            "webhook-replays": replays[0]["id"],
            "tokens": tokens[0]["id"],
            "quarantine": await self._quarantined(team),
            "team": team.name,
        }

    async def another(self, team: Team) -> str:
        """One more execution of a team, which has ended."""
        self._others += 1
        execution_id = f"another_{self._others}"
        await self.told(team, *story(execution_id, "wf_1", team.mark))
        return execution_id

    async def _made(self, team: Team, path: str, body: Any) -> dict[str, Any]:
        answer = await self.client.post(path, json=body, headers=team.headers)
        assert answer.status_code < 300, answer.text
        made: dict[str, Any] = answer.json()
        return made

    async def _done_job(self, team: Team, execution_id: str) -> str:
        made = await self._made(team, "/v1/executions/bulk/stop", {"ids": [execution_id]})

        async def is_done() -> bool:
            found = await self.client.get(f"/v1/bulk-jobs/{made['id']}", headers=team.headers)
            return bool(found.json()["status"] == "done")

        await eventually(is_done)
        return str(made["id"])

    async def _written(self, team: Team) -> str:
        made = await self._made(team, "/v1/exports", {"format": "ndjson", "includeData": True})

        async def is_completed() -> bool:
            found = await self.client.get(f"/v1/exports/{made['id']}", headers=team.headers)
            return bool(found.json()["status"] == "completed")

        await eventually(is_completed)
        return str(made["id"])

    async def _quarantined(self, team: Team) -> str:
        """What came in for a team and holds no event; a producer past intake, for that takes none."""
        headers = ((TEAM_HEADER, team.name.encode()),)
        await self.parts.journal.append([Entry(b"k", f"no event {team.mark}".encode(), headers)] * 2)

        async def rows() -> list[dict[str, Any]]:
            answer = await self.client.get("/v1/quarantine", headers=team.headers)
            found: list[dict[str, Any]] = answer.json()["data"]
            return found if len(found) == 2 else []

        return str((await eventually(rows))[0]["id"])

    async def _are_delivered(self, team: Team, path: str) -> bool:
        rows = (await self.client.get(path, headers=team.headers)).json()["data"]
        return len(rows) >= 6 and all(row["status"] == "delivered" for row in rows)

    async def _replayed(self, team: Team, webhook_id: str) -> dict[str, Any]:
        path = f"/v1/webhooks/{webhook_id}/replay"
        made = await self._made(team, path, BODIES["POST", "/v1/webhooks/{id}/replay"])

        async def is_done() -> bool:
            found = await self.client.get(f"/v1/webhook-replays/{made['id']}", headers=team.headers)
            return bool(found.json()["status"] == "done") and await self._are_delivered(
                team, f"/v1/webhooks/{webhook_id}/deliveries"
            )

        await eventually(is_done)
        return made


def story(execution_id: str, workflow_id: str, mark: str, **begun: Any) -> list[dict[str, Any]]:
    """Events of one execution, in every member of which the mark stands that may hold text."""

    def event(place: int, kind: str, **data: Any) -> dict[str, Any]:
        # Ids of events are the same in both teams too.
        return {
            "type": kind,
            "id": f"{execution_id}-{place}",
            "executionId": execution_id,
            "workflowId": workflow_id,
            "timestamp": AT.format(place),
            "data": {**data, "note": mark},
        }

    node = {"nodeId": "node_1", "nodeName": mark, "nodeType": mark}
    error = {"type": mark, "message": mark, "stack": mark, "nodeId": "node_1"}
    trigger = {"type": "webhook", "source": mark, "payload": {"x": mark}}
    return [
        event(
            0,
            "execution.started",
            workflowName=mark,
            mode="webhook",
            trigger=trigger,
            inputData={"x": mark},
            tags=[mark],
            metadata={"x": mark},
            **begun,
        ),
        event(1, "node.started", **node, inputData=[{"x": mark}]),
        event(2, "execution.progress", completed=1, total=3, current=mark, message=mark),
        event(
            3,
            "log.appended",
            lines=[{"timestamp": AT.format(3), "level": "info", "message": mark, "data": mark} for _ in range(2)],
        ),
        event(4, "node.failed", **node, error=error, outputData=[{"x": mark}]),
        event(5, "execution.failed", error=error, outputData={"x": mark}),
    ]


def asked(execution_id: str, workflow_id: str, command_id: str, mark: str) -> list[dict[str, Any]]:
    """A command and its answer, told by the engine."""
    about = {"executionId": execution_id, "workflowId": workflow_id, "timestamp": AT.format(6)}
    data = {"commandId": command_id, "kind": "cancel", "actor": mark, "args": {"reason": mark}}
    return [{"type": f"command.{phase}", **about, "data": data} for phase in ("requested", "accepted")]


_VOLATILE: Final = re.compile(r'"(?:timestamp|lastUsedAt)":(?:"[^"]*"|null),?')


def said(answer: httpx.Response) -> str:
    """Everything of an answer that a client sees: headers and body."""
    return "\n".join([*(f"{name}: {value}" for name, value in answer.headers.multi_items()), answer.text])


def gist(answer: httpx.Response, ids: Mapping[str, str]) -> tuple[int, str]:
    """Status and body, without the time, and with the asked ids made one word."""
    text = _VOLATILE.sub("", answer.text)
    for asked in sorted(set(ids.values()), key=len, reverse=True):
        text = text.replace(asked, "ID")
    return answer.status_code, text


def is_refusal(operation: Operation, answer: httpx.Response, kind: type[MonitorError], message: str = "") -> bool:
    """Whether an answer is that refusal, in the words of the operation's face."""
    said = Refusal(operation.face.status_of(kind), kind.code, message or kind().message, {}, "", 0)
    words = {it for it in _texts(operation.face.words(said)) if it not in ("", format_time(0))}
    return answer.status_code == said.status and all(json.dumps(it)[1:-1] in answer.text for it in words)


def _texts(document: Any) -> Iterator[str]:
    if isinstance(document, Mapping):
        for value in document.values():
            yield from _texts(value)
    elif isinstance(document, str):
        yield document


@asynccontextmanager
async def open_teams(folder: Path) -> AsyncIterator[Teams]:
    """Two filled teams on a real server with all of its loops."""
    settings = read_settings({}, data=folder, port=0, webhook_allow="127.0.0.0/8", rate_limit=10_000)
    async with open_parts(settings) as parts, running(parts, settings) as url:
        async with receiving() as one, receiving() as other:
            client = httpx.AsyncClient(base_url=url, trust_env=False, timeout=60)
            async with client:
                teams = Teams(parts, url, client, {"acme": one, "zeta": other})
                await teams.fill()
                yield teams
        await asyncio.sleep(0)
