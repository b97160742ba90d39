"""Tokens on a real service: the first one, the command line's, and a lost one."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.command_line import Answer, monitor, monitor_reading
from tests.support.service import Service
from tests.support.tokens import bearer

TOKEN = re.compile(r"mon_[0-9a-f]{16}_[0-9a-f]{64}")
ENDED = [
    {"type": "execution.started", "executionId": "e1", "timestamp": "2026-11-22T10:30:00Z"},
    {"type": "execution.completed", "executionId": "e1", "timestamp": "2026-11-22T10:30:01Z"},
]
LINES = "\n".join(json.dumps(event) for event in ENDED)


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    """A service that asks for tokens; the test launches it."""
    made = Service(tmp_path / "data", auth="on", log="json")
    try:
        yield made
    finally:
        made.close()


def cured(answer: Answer) -> bool:
    """Whether a command was refused with exit code 2 and told how to show a token."""
    return answer.code == 2 and answer.err.count("\n") == 1 and "MONITOR_TOKEN or --token-file" in answer.err


async def test_first_start_prints_a_token_once_and_it_opens_everything(service: Service, tmp_path: Path) -> None:
    """In a box between the lines of the log, and in none of them; every client takes it, and nobody gets on without."""
    service.launch()
    await service.ready()
    token = await service.first_token()
    assert not any(TOKEN.search(line) for line in service.log.read_text().splitlines() if line.startswith("{"))
    file = tmp_path / "token"
    file.write_text(f"{token}\n")

    assert cured(monitor_reading(LINES, "send", "-", "--url", service.url))
    sent = monitor_reading(LINES, "send", "-", "--url", service.url, "--json", token=token)
    assert (sent.code, sent.document["accepted"]) == (0, 2)
    await service.caught_up()
    assert cured(monitor("follow", "e1", "--url", service.url, token=token[:-1] + "g"))
    assert monitor("follow", "e1", "--url", service.url, "--token-file", file).code == 0
    assert cured(monitor("tail", "--url", service.url))
    told = monitor("tail", "--since", "earliest", "--limit", "2", "--json", "--url", service.url, token=token)
    assert [json.loads(line).get("executionId") for line in told.out.splitlines()][-2:] == ["e1", "e1"]

    made = monitor("token", "create", "--role", "viewer", "--name", "ci", "--url", service.url, token=token)
    assert TOKEN.fullmatch(made.out.strip())
    assert cured(monitor_reading(LINES, "send", "-", "--url", service.url, token=made.out.strip()))
    listed = monitor("token", "list", "--json", "--url", service.url, token=token).document["data"]
    assert [(row["name"], row["role"], row["status"]) for row in listed] == [
        ("admin", "admin", "active"),
        ("ci", "viewer", "active"),
    ]
    revoked = monitor("token", "revoke", listed[1]["id"], "--url", service.url, token=token)
    assert (revoked.code, "revoked" in revoked.out) == (0, True)
    async with service.client() as client:
        answer = await client.get("/v1/executions", headers=bearer(made.out.strip()))
        assert answer.json()["error"]["code"] == "TOKEN_REVOKED"

    assert await service.stop() == 0
    service.launch()
    await service.ready()
    assert await service.stop() == 0
    assert TOKEN.findall(service.log.read_text()) == [token]


async def test_lost_token_is_replaced_in_the_folder(service: Service) -> None:
    """While the service is stopped; one that runs is named as the other way."""
    service.launch()
    await service.ready()
    await service.first_token()
    busy = monitor("token", "create", "--role", "admin", data=service.data, port=str(service.port))
    assert (busy.code, f"--url {service.url}" in busy.err) == (2, True)
    assert await service.stop() == 0
    made = monitor("token", "create", "--role", "admin", "--expires-in", "1h", data=service.data)
    assert made.code == 0
    shown = monitor("token", "list", data=service.data)
    assert [line.split()[1] for line in shown.out.splitlines()[1:]] == ["active", "active"]
    service.launch()
    await service.ready()
    assert monitor("token", "list", "--url", service.url, token=made.out.strip()).code == 0


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("create", "--role", "root", "--expires-in", "soon"), "role"),
        (("create", "--role", "viewer", "--allow", "home"), "10.0.0.0/8"),
        (("list", "--url", "http://127.0.0.1:9"), "does not answer"),
    ],
)
def test_what_cannot_be_done_is_said_in_one_line(tmp_path: Path, arguments: tuple[str, ...], said: str) -> None:
    """Without a traceback."""
    answer = monitor("token", *arguments, data=tmp_path / "data")
    assert answer.code in (1, 2)
    assert said in answer.err
    assert answer.err.count("\n") == 1


def test_token_that_is_none_is_not_shown() -> None:
    """Neither sent nor printed: it may be another secret."""
    answer = monitor("tail", token="two words\u00e9")
    assert (answer.code, answer.err) == (2, "monitor: MONITOR_TOKEN holds something else than one token\n")
