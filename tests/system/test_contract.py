"""A running service keeps its contract: every address, asked with what the contract allows and with what it does not.

schemathesis asks, with all of its checks: no server error, no undocumented status, header, media type or body, what is
allowed is accepted, what is not is refused, credentials are asked for, what is deleted is gone; also along the links.
"""

import asyncio
import os
import re
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final

import pytest

from tests.support.contract.tried import UNTRIED, told_story
from tests.support.processes import dying_with_us
from tests.support.service import Service
from tests.support.tokens import bearer

ROOT: Final = Path(__file__).parents[2]

TRIED: Final = ROOT / "tests" / "support" / "contract"

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


async def tried(service: Service, *arguments: str, token: str | None) -> str:
    """What schemathesis prints; fails with it where the contract is broken."""
    environment = {**os.environ, "SCHEMATHESIS_HOOKS": "tests.support.contract.hooks", "PYTHONPATH": str(ROOT)}
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
        *("--request-timeout", "30", "--suppress-health-check", "all", "--continue-on-failure", *arguments),
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
    return printed


def operations_tested(printed: str) -> int:
    """How many operations were asked at all."""
    found = re.search(r"Tested: (\d+)", printed)
    assert found is not None, printed
    return int(found[1])


async def check_whole(service: Service, *arguments: str) -> None:
    """Ask every address as an administrator."""
    token = await told_story(service)
    async with service.client() as client:
        contract: dict[str, Any] = (await client.get("/openapi.json")).json()
    printed = await tried(service, *arguments, token=token)
    assert operations_tested(printed) == sum(map(len, contract["paths"].values())) - UNTRIED
    async with service.client() as client:
        # Had it revoked its own token, it would have met nothing but 401 from then on.
        assert (await client.get("/v1/executions", headers=bearer(token))).status_code == 200


@pytest.mark.timeout(600)
async def test_every_answer_is_as_the_contract_says(service: Service) -> None:
    """For an administrator who sends what is right and what is wrong, the same in each run."""
    await check_whole(service, "--generation-deterministic", "--max-examples", "2")


@pytest.mark.timeout(600)
async def test_strangers_are_told_what_the_contract_says(service: Service) -> None:
    """Nothing but that they need a token, and what everybody may read."""
    await tried(service, "--generation-deterministic", "--max-examples", "3", "--phases", "fuzzing", token=None)


@pytest.mark.long
@pytest.mark.timeout(3 * LONG_S)
async def test_every_answer_is_as_the_contract_says_for_long(service: Service) -> None:
    """With other requests in each run; a failure prints the one that brought it about."""
    await check_whole(service, "--max-time", str(LONG_S))
