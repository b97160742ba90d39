"""`Idempotency-Key`: of equal requests one is carried out, whoever sends them when, and whatever dies in between."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import httpx
import pytest

from monitor.engines.base import Accepted, Refused
from monitor.errors import JournalUnavailable, TooManyIdempotencyKeys
from monitor.executions.idempotency import LEASE_S, Answered, Idempotency
from monitor.store import open_sqlite_store
from monitor.store.order_port import KEY_KEEP_S
from monitor.web.idempotent import REPLAYED_HEADER
from tests.support.clocks import NOON_US, ManualClock, settle
from tests.support.commanding import CommandHouse, Scripted, commanding, principal

PATH = "/v1/workflows/demo-wait/execute"
KEY = {"idempotency-key": "order-7"}


@pytest.fixture
async def house() -> AsyncIterator[CommandHouse]:
    """With the demo engine alone."""
    async with commanding() as house:
        yield house


@pytest.fixture
async def client(house: CommandHouse) -> AsyncIterator[httpx.AsyncClient]:
    """An administrator's."""
    async with house.client() as client:
        yield client


async def executions(client: httpx.AsyncClient) -> list[str]:
    """Every id."""
    return [row["id"] for row in (await client.get("/v1/executions?limit=100")).json()["data"]]


async def test_twenty_equal_requests_at_once_are_one_execution(client: httpx.AsyncClient) -> None:
    """All get the same answer, and all but the first say that it is a repeat."""
    body = {"input": {"order": 7}}
    answers = await asyncio.gather(*(client.post(PATH, json=body, headers=KEY) for _ in range(20)))
    assert {answer.status_code for answer in answers} == {202}
    assert len({answer.content for answer in answers}) == 1
    assert sum(REPLAYED_HEADER in answer.headers for answer in answers) == 19
    assert await executions(client) == [answers[0].json()["executionId"]]


async def test_a_later_repeat_gets_the_first_answer(client: httpx.AsyncClient) -> None:
    """With its status and headers, also of a request that waited."""
    headers = KEY | {"prefer": "wait=30"}
    first = await client.post("/v1/workflows/demo-loop/execute", headers=headers)
    again = await client.post("/v1/workflows/demo-loop/execute", headers=headers)
    assert (again.status_code, again.content) == (first.status_code, first.content)
    assert again.headers["preference-applied"] == "wait=30"
    assert (again.headers[REPLAYED_HEADER], REPLAYED_HEADER in first.headers) == ("true", False)
    assert len(await executions(client)) == 1


@pytest.mark.parametrize("at_once", [True, False])
async def test_a_key_with_another_request_is_refused(client: httpx.AsyncClient, *, at_once: bool) -> None:
    """422, whether the first is still under way or done; another address is another request."""
    asked = [client.post(PATH, json={"input": number}, headers=KEY) for number in (1, 2)]
    answers = await asyncio.gather(*asked) if at_once else [await it for it in asked]
    assert sorted(answer.status_code for answer in answers) == [202, 422]
    refused = next(answer for answer in answers if answer.status_code == 422)
    assert refused.json()["error"]["code"] == "IDEMPOTENCY_KEY_REUSED"
    elsewhere = await client.post("/v1/workflows/demo-loop/execute", json={"input": 1}, headers=KEY)
    assert elsewhere.status_code == 422
    assert len(await executions(client)) == 1


async def test_keys_are_a_principals_own(house: CommandHouse) -> None:
    """Another name, or another team, has keys of its own."""
    answers = []
    for whose in ({"name": "ada"}, {"name": "bob"}, {"name": "ada", "team": "else"}):
        async with house.client(**whose) as client:
            answers.append(await client.post(PATH, headers=KEY))
    assert {answer.status_code for answer in answers} == {202}
    assert len({answer.json()["executionId"] for answer in answers}) == 3


async def test_a_refused_request_frees_its_key(client: httpx.AsyncClient) -> None:
    """What could not be carried out may be tried again, and corrected, under the same key."""
    refused = await client.post("/v1/workflows/nope/execute", headers=KEY)
    assert refused.status_code == 404
    assert (await client.post(PATH, headers=KEY)).status_code == 202


async def test_an_engine_that_comes_back_takes_the_same_command() -> None:
    """503 while it is away; tried again under the key, it is the same command and one execution."""
    engine = Scripted("wf_1", JournalUnavailable("away"))
    async with commanding(engine) as house, house.client() as client:
        away = await client.post("/v1/workflows/wf_1/execute", headers=KEY)
        assert away.status_code == 503
        execution_id = away.json()["error"]["executionId"]
        engine.answer = Accepted(execution_id)
        again = await client.post("/v1/workflows/wf_1/execute", headers=KEY)
        assert (again.status_code, again.json()["executionId"]) == (202, execution_id)
        assert len({command.command_id for command in engine.asked}) == 1
        commands = (await client.get(f"/v1/executions/{execution_id}/commands")).json()["data"]
        assert [row["status"] for row in commands] == ["accepted"]


async def test_an_engine_that_refused_is_not_asked_again() -> None:
    """Its answer to a command stands."""
    engine = Scripted("wf_1", Refused("no capacity", "busy"))
    async with commanding(engine) as house, house.client() as client:
        for _ in range(2):
            answer = await client.post("/v1/workflows/wf_1/execute", headers=KEY)
            assert (answer.status_code, answer.json()["error"]["message"]) == (409, "no capacity")
        assert len(engine.asked) == 1


async def test_what_a_dead_process_left_is_carried_out_once(tmp_path: Path) -> None:
    """It had issued the command and not answered yet: the next one finds it, and answers with the same execution."""
    store = await open_sqlite_store(tmp_path / "store.db")
    try:
        async with commanding(store=store) as house, house.client() as client:
            first = await client.post(PATH, headers=KEY)
            who = await principal({"headers": []})
            held = await store.read(lambda reader: reader.idempotent_request(who.team, who.name, "order-7"))
            assert held is not None
            unanswered = held._replace(answer=None)
            await store.write(lambda writer: writer.put_idempotent_request(unanswered))
            again = await client.post(PATH, headers=KEY)
            assert again.json()["executionId"] == first.json()["executionId"]
            assert len(await executions(client)) == 1
    finally:
        await store.close()


async def test_who_goes_away_does_not_undo_the_work(house: CommandHouse) -> None:
    """The request is carried out to its end, and its answer waits for whoever asks again."""
    done = asyncio.Event()

    async def work(seed: str) -> bytes:
        await done.wait()
        return seed.encode()

    who = await principal({"headers": []})
    first = asyncio.create_task(house.idempotency.once(who, "key", b"asked", work))
    await asyncio.sleep(0)
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    second = asyncio.create_task(house.idempotency.once(who, "key", b"asked", work))
    done.set()
    answered = await second
    assert (answered.is_repeated, answered.answer.startswith(b"key\n")) == (True, True)


class Work:
    """Carried out in processes that share a store, each with a clock of its own."""

    def __init__(self, house: CommandHouse) -> None:
        self.store, self.clocks = house.house.store, {name: ManualClock(NOON_US) for name in "ab"}
        self.processes = {name: Idempotency(self.store, clock, shared_as=name) for name, clock in self.clocks.items()}
        # Who carried it out, with which seed, in this order; and what each of them waits for.
        self.begun: list[tuple[str, str]] = []
        self.ended = {name: asyncio.Event() for name in "ab"}
        self.fails = False

    async def ask(self, name: str) -> asyncio.Task[Answered]:
        """A request to one of them; returns when nobody has anything to do but wait."""
        who = await principal({"headers": []})

        async def work(seed: str) -> bytes:
            self.begun.append((name, seed))
            await self.ended[name].wait()
            if self.fails:
                raise JournalUnavailable("away")
            return f"of {name}".encode()

        task = asyncio.create_task(self.processes[name].once(who, "key", b"asked", work))
        await self.pass_time(0)
        return task

    async def pass_time(self, seconds: float, *names: str) -> None:
        """For all of them, or for some while the others are frozen."""
        for _ in range(max(1, round(seconds))):
            for name in names or self.clocks:
                await self.clocks[name].advance(min(1, seconds))
            await self.store.read(lambda reader: reader.lease("none"))
            await settle()

    async def holder(self) -> str | None:
        """Whose the request is."""
        who = await principal({"headers": []})
        name = f"idempotent\n{who.team}\n{who.token_id or who.name}\nkey"
        lease = await self.store.read(lambda reader: reader.lease(name))
        return lease and lease.holder

    async def forget(self) -> None:
        """Begin anew."""
        await self.store.write(lambda writer: writer.forget_idempotent_requests(1 << 62, 1))
        for ended in self.ended.values():
            ended.clear()


@pytest.fixture
def work(house: CommandHouse) -> Work:
    """Nothing asked yet."""
    return Work(house)


async def test_another_process_waits_for_the_answer(work: Work) -> None:
    """However long the work takes; it is carried out once."""
    first, second = await work.ask("a"), await work.ask("b")
    await work.pass_time(3 * LEASE_S)
    assert ([name for name, _ in work.begun], second.done()) == (["a"], False)
    assert await work.holder() == "a"
    work.ended["a"].set()
    assert await first == Answered(b"of a", is_repeated=False)
    await work.pass_time(1)
    assert await second == Answered(b"of a", is_repeated=True)
    assert await work.store.read(lambda reader: reader.lease("idempotent\ndefault\nadmin\nkey")) is None


async def test_another_process_follows_one_that_died(work: Work) -> None:
    """When the lease has ended, and not before, under the same seed."""
    await work.ask("a")
    second = await work.ask("b")
    await work.pass_time(LEASE_S - 1, "b")
    assert len(work.begun) == 1
    await work.pass_time(2, "b")
    work.ended["b"].set()
    assert await second == Answered(b"of b", is_repeated=False)
    assert [name for name, _ in work.begun] == ["a", "b"]
    assert len({seed for _, seed in work.begun}) == 1


async def test_one_that_was_frozen_gets_the_answer_of_its_successor(work: Work) -> None:
    """And changes nothing, whether it fails or has an answer of its own."""
    for fails in (False, True):
        work.fails = False
        first, second = await work.ask("a"), await work.ask("b")
        await work.pass_time(LEASE_S + 1, "b")
        work.ended["b"].set()
        assert (await second).answer == b"of b"
        work.fails = fails
        work.ended["a"].set()
        if fails:
            with pytest.raises(JournalUnavailable):
                await first
        else:
            assert await first == Answered(b"of b", is_repeated=True)
        third = await work.ask("a")
        assert await third == Answered(b"of b", is_repeated=True)
        await work.forget()


async def test_one_that_was_frozen_and_fails_frees_nothing(work: Work) -> None:
    """Its successor is still at it: another request under the key is refused."""
    first, second = await work.ask("a"), await work.ask("b")
    await work.pass_time(LEASE_S + 1, "b")
    work.fails = True
    work.ended["a"].set()
    with pytest.raises(JournalUnavailable):
        await first
    work.fails = False
    who = await principal({"headers": []})
    held = await work.store.read(lambda reader: reader.idempotent_request(who.team, who.name, "key"))
    assert (held and held.fingerprint, await work.holder()) == (b"asked", "b")
    work.ended["b"].set()
    assert await second == Answered(b"of b", is_repeated=False)


async def test_a_failure_lets_the_next_process_try(work: Work) -> None:
    """At once: nobody waits for a lease."""
    first, second = await work.ask("a"), await work.ask("b")
    work.fails = True
    work.ended["a"].set()
    with pytest.raises(JournalUnavailable):
        await first
    work.fails = False
    work.ended["b"].set()
    await work.pass_time(1)
    assert await second == Answered(b"of b", is_repeated=False)


async def test_a_key_is_kept_for_a_day(house: CommandHouse) -> None:
    """Then it is new, whether or not somebody has tidied up."""
    clock = ManualClock(NOON_US)
    idempotency = Idempotency(house.house.store, clock)
    answers = iter((b"first", b"second"))

    async def work(_seed: str) -> bytes:
        return next(answers)

    who = await principal({"headers": []})
    assert (await idempotency.once(who, "key", b"asked", work)).answer == b"first"
    await clock.advance(KEY_KEEP_S)
    assert (await idempotency.once(who, "key", b"asked", work)).answer == b"first"
    await clock.advance(1)
    assert (await idempotency.once(who, "key", b"other", work)).answer == b"second"


async def test_a_request_of_another_day_is_carried_out(house: CommandHouse, client: httpx.AsyncClient) -> None:
    """The same key with the same body more than a day later, as of a weekly job, is another execution."""
    first = (await client.post(PATH, headers=KEY)).json()
    who, store = await principal({"headers": []}), house.house.store
    held = await store.read(lambda reader: reader.idempotent_request(who.team, who.name, "order-7"))
    assert held is not None
    aged = held._replace(created_us=held.created_us - (KEY_KEEP_S + 1) * 1_000_000)
    await store.write(lambda writer: writer.put_idempotent_request(aged))
    second = (await client.post(PATH, headers=KEY)).json()
    assert sorted(await executions(client)) == sorted([first["executionId"], second["executionId"]])
    assert first["executionId"] != second["executionId"]


async def test_no_payload_is_kept_for_a_repeat(house: CommandHouse, client: httpx.AsyncClient) -> None:
    """Of an answer that shows an execution the id alone; once that is deleted there is nothing to show."""
    headers, body = KEY | {"prefer": "wait=30"}, {"input": {"order": "kept-nowhere-else"}}
    first = await client.post("/v1/workflows/demo-loop/execute", json=body, headers=headers)
    assert first.status_code == 200
    assert "kept-nowhere-else" in first.text
    who = await principal({"headers": []})
    held = await house.house.store.read(lambda reader: reader.idempotent_request(who.team, who.name, "order-7"))
    assert held is not None
    assert held.answer is not None
    assert b"kept-nowhere-else" not in held.answer
    assert (await client.delete(f"/v1/executions/{first.json()['id']}")).is_success
    again = await client.post("/v1/workflows/demo-loop/execute", json=body, headers=headers)
    assert (again.status_code, again.json()["error"]["code"]) == (404, "EXECUTION_NOT_FOUND")


async def test_a_team_has_so_many_keys(house: CommandHouse) -> None:
    """Beyond them new ones are refused, and nothing is carried out; known ones and other teams are served."""
    idempotency = Idempotency(house.house.store, ManualClock(NOON_US), most_keys=2)
    done: list[str] = []

    async def work(seed: str) -> bytes:
        done.append(seed)
        return b"done"

    who = await principal({"headers": []})
    for key in ("a", "b", "a"):
        assert (await idempotency.once(who, key, b"asked", work)).answer == b"done"
    with pytest.raises(TooManyIdempotencyKeys, match="without one, or wait"):
        await idempotency.once(who, "c", b"asked", work)
    await idempotency.once(replace(who, team="else"), "c", b"asked", work)
    assert len(done) == 3


@pytest.mark.parametrize("key", ["", " ", "x" * 256, "schl\u00fcssel"])
async def test_what_is_no_key_is_refused(client: httpx.AsyncClient, key: str) -> None:
    """400 naming the header."""
    answer = await client.post(PATH, headers=[(b"idempotency-key", key.encode("latin-1"))])
    assert (answer.status_code, answer.json()["error"]["field"]) == (400, "Idempotency-Key")
    twice = await client.post(PATH, headers=[("idempotency-key", "a"), ("idempotency-key", "b")])
    assert twice.status_code == 400
    assert await executions(client) == []


async def test_quotes_belong_to_the_header_not_to_the_key(client: httpx.AsyncClient) -> None:
    """The draft of the header spells it with quotes, most clients without."""
    first = await client.post(PATH, headers={"idempotency-key": '"order-7"'})
    again = await client.post(PATH, headers=KEY)
    assert first.json() == again.json()


async def test_cancel_and_retry_are_repeated_too(client: httpx.AsyncClient) -> None:
    """A second cancel with the key is no cancel of a finished one, and a second retry no second execution."""
    execution_id = (await client.post(PATH)).json()["executionId"]
    for verb in ("cancel", "retry"):
        headers = {"idempotency-key": verb}
        answers = [await client.post(f"/v1/executions/{execution_id}/{verb}", headers=headers) for _ in range(3)]
        assert {answer.status_code for answer in answers} == {200}
        assert len({answer.content for answer in answers}) == 1
    assert len(await executions(client)) == 2
