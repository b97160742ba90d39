"""Whoever runs the service sees who is connected and how far behind, the slowest on top."""

from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.types import Scope

from monitor.access.positions import position_token
from monitor.access.principal import Principal
from monitor.access.roles import Role
from monitor.api import streams
from monitor.events.codec import format_time
from monitor.fanout.attachment import Attachment
from monitor.fanout.channels import Selection, Subscription
from monitor.fanout.hub import Hub
from monitor.fanout.outlet import Label
from monitor.fanout.wires import SSE, WEBSOCKET
from monitor.projections.filter import parse_json
from monitor.web.operations import routed
from monitor.web.problems import exception_handlers
from tests.support.contract.checked import CHECKED
from tests.support.released import SEALER, World

EVERYTHING = frozenset({Subscription(frozenset({"executions"}))})


class HalfFullSocket:
    """Takes bytes and never hands them on; not full yet."""

    is_full = is_clear = False

    def __init__(self) -> None:
        self.buffered_bytes = 0

    def write(self, data: bytes) -> None:
        self.buffered_bytes += len(data)

    def send(self, data: bytes) -> int:
        raise BlockingIOError


@pytest.fixture
def world() -> World:
    """One partition, a clock that stands."""
    return World()


@pytest.fixture
def hub(world: World) -> Hub:
    """The only hub."""
    return world.hub()


async def principal(scope: Scope) -> Principal:
    """Whom the test's headers name."""
    headers = {name: value.decode() for name, value in scope["headers"]}
    roles: dict[str, Role] = {"viewer": "viewer", "operator": "operator", "builder": "builder"}
    return Principal(headers.get(b"x-team", "red"), "tester", roles.get(headers.get(b"x-role", ""), "admin"))


@pytest.fixture
async def client(hub: Hub, world: World) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the route."""
    routes = routed(streams.operations(hub=hub, sealer=SEALER), principal)
    application = Starlette(routes=routes, exception_handlers=exception_handlers(world.clock))
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(application), base_url="http://monitor", event_hooks=CHECKED
    ) as opened:
        yield opened


def attach(hub: Hub, sid: str, subscriptions: frozenset[Subscription] = EVERYTHING, team: str = "red") -> Attachment:
    """A subscriber that has read nothing."""
    attachment = hub.attach(WEBSOCKET, Label(sid, "websocket", team, f"127.0.0.1:{sid}"))
    attachment.change(Selection(team, subscriptions))
    return attachment


async def listed(client: httpx.AsyncClient, query: str = "", **headers: str) -> dict[str, Any]:
    """The answer."""
    answer = await client.get(f"/v1/streams{query}", headers=headers)
    assert answer.status_code == 200, answer.text
    assert answer.headers["cache-control"] == "no-store"
    document: dict[str, Any] = answer.json()
    return document


async def test_a_connection_tells_who_it_is_and_what_it_wants(
    client: httpx.AsyncClient, hub: Hub, world: World
) -> None:
    """In the words in which one asks for it, and nothing of the offsets behind its position."""
    await world.append(team="red")
    world.publish(hub)
    socket = HalfFullSocket()
    attachment = hub.attach(SSE, Label("5e", "sse", "red", "10.0.0.7:5000"), socket)
    failures = Subscription(
        frozenset({"workflow:b", "workflow:a"}),
        frozenset({"node.*", "execution.failed"}),
        parse_json({"status": "failed", "duration": {"gte": 5}}),
        logs=True,
    )
    attachment.change(Selection("red", frozenset({failures, *EVERYTHING})))
    socket.write(b"12345")
    [row] = (await listed(client))["data"]
    assert row == {
        "sid": "5e",
        "transport": "sse",
        "client": "10.0.0.7:5000",
        "since": format_time(world.clock.now_us()),
        "state": "catching_up",
        "channels": ["executions", "workflow:a", "workflow:b"],
        "subscriptions": [
            {"channels": ["executions"], "events": None, "filter": {}, "logs": False},
            {
                "channels": ["workflow:a", "workflow:b"],
                "events": ["execution.failed", "node.*"],
                "filter": {"status": "failed", "duration": {"gte": 5.0}},
                "logs": True,
            },
        ],
        "position": position_token(SEALER, world.end),
        "lagRecords": 0,
        "sentBytes": 0,
        "bufferedBytes": 5,
    }


async def test_the_slowest_is_on_top(client: httpx.AsyncClient, hub: Hub, world: World) -> None:
    """Furthest behind first; of those equally far the one whose socket holds most, then the oldest."""
    attach(hub, "1")
    await world.append(team="red")
    world.publish(hub)
    for sid, held in (("2", 0), ("3", 7)):
        socket = HalfFullSocket()
        hub.attach(WEBSOCKET, Label(sid, "websocket", "red", sid), socket).change(Selection("red", EVERYTHING))
        socket.write(b"x" * held)
    await world.append(team="red")
    world.publish(hub)
    assert [(row["sid"], row["lagRecords"]) for row in (await listed(client))["data"]] == [("1", 2), ("3", 1), ("2", 1)]
    answer = await listed(client, "?limit=2")
    assert [row["sid"] for row in answer["data"]] == ["1", "3"]
    assert answer["pagination"] == {"limit": 2, "hasMore": True, "total": 3}


async def test_a_team_sees_its_own_connections(client: httpx.AsyncClient, hub: Hub) -> None:
    """Neither others' rows nor their number."""
    attach(hub, "1")
    attach(hub, "2", team="blue")
    for team, sid in (("red", "1"), ("blue", "2"), ("green", None)):
        answer = await listed(client, **{"x-team": team})
        assert [row["sid"] for row in answer["data"]] == ([sid] if sid else [])
        assert answer["pagination"]["total"] == len(answer["data"])


@pytest.mark.parametrize("role", ["viewer", "operator", "builder"])
async def test_only_administrators_are_told(client: httpx.AsyncClient, role: str) -> None:
    """403 with the scope that it takes."""
    answer = await client.get("/v1/streams", headers={"x-role": role})
    error = answer.json()["error"]
    assert (answer.status_code, error["requiredPermission"]) == (403, "admin")


@pytest.mark.parametrize("query", ["limit=0", "limit=1001", "limit=1&limit=2", "limt=5", "filter[state]=slow"])
async def test_wrong_questions_are_refused_by_name(client: httpx.AsyncClient, query: str) -> None:
    """As everywhere."""
    answer = await client.get(f"/v1/streams?{query}")
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "INVALID_REQUEST")
    assert answer.json()["error"]["field"] == query.partition("=")[0]


async def test_long_lists_are_cut_and_counted(client: httpx.AsyncClient, hub: Hub) -> None:
    """One connection with a thousand channels must not make the answer unreadable."""
    channels = [f"execution:{number:02d}" for number in range(30)]
    attach(hub, "1", frozenset(Subscription(frozenset({name})) for name in channels))
    attach(hub, "2", frozenset({Subscription(frozenset(channels))}))
    many, long = (await listed(client))["data"]
    assert (many["channels"], many["moreChannels"]) == (channels[:20], 10)
    assert [it["channels"] for it in many["subscriptions"]] == [[name] for name in channels[:20]]
    assert many["moreSubscriptions"] == 10
    [subscription] = long["subscriptions"]
    assert (subscription["channels"], subscription["moreChannels"]) == (channels[:20], 10)
    assert "moreSubscriptions" not in long


async def test_totals_are_of_the_whole_process(client: httpx.AsyncClient, hub: Hub, world: World) -> None:
    """Numbers by the names that the answer's other members have."""
    attach(hub, "1", team="blue")
    attach(hub, "2").leave()
    await world.append(team="blue")
    world.publish(hub)
    statistics = (await listed(client))["statistics"]
    assert (statistics["subscribers"], statistics["published"], statistics["ringBytes"]) == (1, 1, 0)
    assert statistics["transports"] == {"websocket": 1}
    assert all(isinstance(value, int | dict) for value in statistics.values())
