"""A running service keeps its contract: every address, asked with what the contract allows and with what it does not.

schemathesis asks, with all of its checks: no server error, no undocumented status, header, media type or body, what is
allowed is accepted, what is not is refused, credentials are asked for, what is deleted is gone; also along the links.
"""

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any, Final

import pytest

from tests.support.contract.tried import UNTRIED, Asked, told_story
from tests.support.processes import dying_with_us
from tests.support.service import Service
from tests.support.tokens import bearer

ROOT: Final = Path(__file__).parents[2]

TRIED: Final = ROOT / "tests" / "support" / "contract"

MORE_S: Final = 18
"""For the limits of the schemas, and again for the links: the whole takes a minute on two free cores."""

LONG_S: Final = 600


@pytest.fixture
async def service(tmp_path: Path) -> AsyncIterator[Service]:
    """One that asks for credentials and may send webhooks to this machine."""
    service = Service(tmp_path / "data", auth="on", webhook_allow="127.0.0.0/8", rate_limit="10000")
    service.launch()
    try:
        await service.ready()
        yield service
    finally:
        service.close()


async def tried(service: Service, *arguments: str, token: str | None) -> Asked:
    """What schemathesis asked; fails with what it prints where the contract is broken."""
    notes = service.data.parent / "asked"
    notes.write_text("")
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "SCHEMATHESIS_HOOKS": "tests.support.contract.hooks",
        "MONITOR_TRIED_NOTES": str(notes),
    }
    if token is not None:
        arguments = (*arguments, "-H", f"Authorization: {bearer(token)['authorization']}")
        async with service.client() as client:
            answer = await client.get("/v1/executions", headers=bearer(token))
        environment |= {
            "MONITOR_TRIED_POSITION": answer.headers["monitor-position"],
            "MONITOR_TRIED_TOKEN": token.split("_")[1],
        }
    command = [
        *(sys.executable, "-m", "schemathesis.cli", "--config-file", str(TRIED / "schemathesis.toml")),
        *("run", f"{service.url}/openapi.json", "--checks", "all", "--no-color"),
        # They go on for ever; their frames have tests of their own.
        *("--exclude-operation-id-regex", "^stream"),
        *("--request-timeout", "60", "--suppress-health-check", "all", "--continue-on-failure", *arguments),
    ]
    process = await asyncio.create_subprocess_exec(
        *dying_with_us(command),
        env=environment,
        # It keeps what it has found where it runs.
        cwd=service.data.parent,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    assert process.stdout is not None
    printed = (await process.stdout.read()).decode()
    assert await process.wait() == 0, printed
    asked = Asked.noted(notes)
    # For whoever looks how much was tried (`pytest -rP`).
    print(asked)
    return asked


async def operations_of(service: Service) -> dict[str, Any]:
    """Those that are tried, as the contract tells them, by method and address."""
    async with service.client() as client:
        paths = (await client.get("/openapi.json")).json()["paths"]
    told = {f"{method.upper()} {path}": it for path, methods in paths.items() for method, it in methods.items()}
    return {name: it for name, it in told.items() if name not in UNTRIED}


@pytest.mark.timeout(600)
async def test_every_answer_is_as_the_contract_says(service: Service) -> None:
    """For an administrator: each operation once with what is right and once with what is wrong, however long it takes.

    Then, for a time, more of both at the limits of every schema, and along the links from each answer to the next.
    """
    token, operations = await told_story(service), await operations_of(service)
    once = ("--phases", "fuzzing", "--max-examples", "1", "--generation-deterministic", "--mode")
    right = await tried(service, *once, "positive", token=token)
    assert right.operations("positive") == set(operations)
    wrong = await tried(service, *once, "negative", token=token)
    assert wrong.operations("negative") == {name for name, it in operations.items() if can_be_wrong(it)}
    more = ("--seed", "1", "--max-time", str(MORE_S), "--phases")
    # The tool shares the time out between operations only where another phase has to have some, too.
    assert (await tried(service, *more, "coverage,stateful", token=token)).operations("coverage")
    assert (await tried(service, *more, "stateful", token=token)).operations("stateful")


def can_be_wrong(operation: Mapping[str, Any]) -> bool:
    """Whether the contract says something of a request that another could break: any text is an id."""
    return "requestBody" in operation or any(it["in"] == "query" for it in operation.get("parameters", ()))


@pytest.mark.timeout(600)
async def test_strangers_are_told_what_the_contract_says(service: Service) -> None:
    """Nothing but that they need a token, and what everybody may read."""
    asked = await tried(service, "--generation-deterministic", "--max-examples", "2", "--phases", "fuzzing", token=None)
    assert asked.operations() == set(await operations_of(service))


@pytest.mark.long
@pytest.mark.timeout(3 * LONG_S)
async def test_every_answer_is_as_the_contract_says_for_long(service: Service) -> None:
    """With other requests in each run; a failure prints the one that brought it about."""
    token = await told_story(service)
    asked = await tried(service, "--max-time", str(LONG_S), token=token)
    assert asked.operations("positive") == set(await operations_of(service))
    async with service.client() as client:
        # Had it revoked its own token, it would have met nothing but 401 from then on.
        assert (await client.get("/v1/executions", headers=bearer(token))).status_code == 200
