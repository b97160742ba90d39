"""Loops that the documents of dialects show to their readers: as they stand there, run by Node, and in Python.

`tests/dialects/snippets` has them as the documents do, to the letter. Only three things are done to them: base address
and key become those of the service, annotations of types are taken away, which Node 20 does not know, and `setTimeout`
is that of `node/waiting.mjs`: a pause is told to the test, and ends when the test says so.
"""

import asyncio
import json
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final, Protocol

import httpx

from tests.support.node_clients import PROGRAMS
from tests.support.processes import dying_with_us
from tests.support.service import ANSWERED_WITHIN_S

FOLDER: Final = Path(__file__).parents[1] / "dialects" / "snippets"

AtWait = Callable[[int], Awaitable[None]]
"""Told for how many milliseconds a loop pauses; the pause ends when it returns."""

_BASES: Final = ("https://api.so1.io", "https://your-n8n-instance.com")
_KEYS: Final = ("so1_key_abc123xyz", "your-api-key")
_TYPES: Final = re.compile(r": (?:string|number|Promise<\w+>)")


class LoopFailed(Exception):
    """A loop ended with an error; the message is what it said."""


def as_documented(name: str, url: str, key: str) -> str:
    """A snippet with the address and the key of a service."""
    text = (FOLDER / name).read_text(encoding="utf-8")
    for base in _BASES:
        text = text.replace(base, url)
    for shown in _KEYS:
        text = text.replace(shown, key)
    return text


class Loops(Protocol):
    """Each returns what it prints, line by line. Raises LoopFailed."""

    async def so1_wait(self, execution_id: str, at_wait: AtWait) -> list[str]:
        """Poll until an execution has ended; its result as JSON."""
        ...

    async def so1_retry(self, execution_id: str, at_wait: AtWait) -> list[str]:
        """Retry until that succeeds; the id of the new execution as JSON."""
        ...

    async def n8n_wait(self, at_wait: AtWait) -> list[str]:
        """Poll until `exec_123` has ended."""
        ...

    async def n8n_clean_up(self) -> list[str]:
        """Delete what is older than thirty days."""
        ...

    async def n8n_retry_all(self) -> list[str]:
        """Retry everything that has failed."""
        ...


@dataclass(frozen=True)
class JavaScript:
    """As the documents show them. Implements Loops."""

    url: str
    key: str
    folder: Path

    async def so1_wait(self, execution_id: str, at_wait: AtWait) -> list[str]:
        call = f"waitForWorkflowCompletion({json.dumps(execution_id)})"
        return await self._run(at_wait, "so1_wait.ts", call=call)

    async def so1_retry(self, execution_id: str, at_wait: AtWait) -> list[str]:
        call = f"retryFailedExecution({json.dumps(execution_id)})"
        return await self._run(at_wait, "so1_wait.ts", "so1_retry.ts", call=call)

    async def n8n_wait(self, at_wait: AtWait) -> list[str]:
        return await self._run(at_wait, "n8n_wait.js")

    async def n8n_clean_up(self) -> list[str]:
        return await self._run(_never, "n8n_clean_up.js")

    async def n8n_retry_all(self) -> list[str]:
        return await self._run(_never, "n8n_retry_all.js")

    async def _run(self, at_wait: AtWait, *names: str, call: str | None = None) -> list[str]:
        program = [
            f"import {{setTimeout}} from {json.dumps((PROGRAMS / 'waiting.mjs').as_uri())};",
            f"const API_KEY = {json.dumps(self.key)};",
            *(_TYPES.sub("", as_documented(name, self.url, self.key)) for name in names),
            *([] if call is None else [f"console.log(JSON.stringify(await {call}));"]),
        ]
        file = self.folder / "snippet.mjs"
        await asyncio.to_thread(file.write_text, "\n".join(program))
        return await _printed(file, at_wait)


async def _printed(program: Path, at_wait: AtWait) -> list[str]:
    """What Node prints; fails when it takes longer than an answer may."""
    pipe = asyncio.subprocess.PIPE
    node = await asyncio.create_subprocess_exec(
        *dying_with_us(["node", str(program)]), stdin=pipe, stdout=pipe, stderr=asyncio.subprocess.STDOUT
    )
    try:
        async with asyncio.timeout(ANSWERED_WITHIN_S):
            said = await _talk(node, at_wait)
            if await node.wait():
                raise LoopFailed("\n".join(said))
            return said
    finally:
        if node.returncode is None:
            node.kill()
        await node.communicate()


async def _talk(node: asyncio.subprocess.Process, at_wait: AtWait) -> list[str]:
    assert node.stdin is not None
    assert node.stdout is not None
    said = []
    async for line in node.stdout:
        word, _, rest = line.decode().rstrip("\n").partition(" ")
        if word == "wait":
            await at_wait(int(rest))
            node.stdin.write(b"\n")
        else:
            said.append(f"{word} {rest}".rstrip())
    return said


async def _never(delay_ms: int) -> None:
    raise AssertionError(f"nobody pauses here, not for {delay_ms} ms")


@dataclass(frozen=True)
class Python:
    """The same in Python. Implements Loops."""

    url: str
    key: str

    async def so1_wait(self, execution_id: str, at_wait: AtWait) -> list[str]:
        async with self._client() as client:
            return [json.dumps(await _completed(client, execution_id, at_wait))]

    async def so1_retry(self, execution_id: str, at_wait: AtWait) -> list[str]:
        async with self._client() as client:
            for attempt in range(3):
                answer = await client.post(f"/v1/n8n/executions/{execution_id}/retry")
                retried: str = answer.json()["data"]["executionId"]
                if (await _completed(client, retried, at_wait))["success"]:
                    return [json.dumps(retried)]
                await at_wait(2**attempt * 1000)
        raise LoopFailed("Max retries exceeded")

    async def n8n_wait(self, at_wait: AtWait) -> list[str]:
        async with self._client() as client:
            for _ in range(60):
                execution = (await client.get("/api/v1/executions/exec_123")).json()
                if execution["status"] in ("success", "error", "canceled", "crashed"):
                    return [f"Execution finished with status: {execution['status']}"]
                await at_wait(2000)
        raise LoopFailed("Execution timeout")

    async def n8n_clean_up(self) -> list[str]:
        limit = datetime.now(UTC) - timedelta(days=30)
        async with self._client() as client:
            data = (await client.get("/api/v1/executions?limit=100")).json()["data"]
            old = [it["id"] for it in data if datetime.fromisoformat(it["startedAt"]) < limit]
            if not old:
                return []
            await client.post("/api/v1/executions/delete", json={"ids": old})
            return [f"Deleted {len(old)} old executions"]

    async def n8n_retry_all(self) -> list[str]:
        async with self._client() as client:
            data = (await client.get("/api/v1/executions?status=error&limit=50")).json()["data"]
            for execution in data:
                await client.post(f"/api/v1/executions/{execution['id']}/retry", json={"loadWorkflow": True})
            return [f"Retried execution {execution['id']}" for execution in data]

    def _client(self) -> httpx.AsyncClient:
        shown = {"authorization": f"Bearer {self.key}"} if self.key.startswith("so1") else {"X-N8N-API-KEY": self.key}
        return httpx.AsyncClient(base_url=self.url, headers=shown, trust_env=False, timeout=ANSWERED_WITHIN_S)


async def _completed(client: httpx.AsyncClient, execution_id: str, at_wait: AtWait) -> Any:
    for _ in range(60):
        data = (await client.get(f"/v1/n8n/executions/{execution_id}")).json()["data"]
        if data["status"] == "success":
            return data["result"]
        if data["status"] == "error":
            raise LoopFailed(data["error"]["message"])
        await at_wait(5000)
    raise LoopFailed("Workflow timeout")
