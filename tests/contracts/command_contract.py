"""The promises of the store port about commands, as tests that every driver has to pass."""

from collections.abc import Sequence
from typing import Any

from monitor.store import Store
from monitor.store.command_port import CommandRow
from tests.contracts.ledger_contract import NOW_US, SECOND_US
from tests.contracts.store_contract import Feed, event, key_of


def said(phase: str, command_id: str = "cmd_1", execution_id: str = "exec_1", at_s: float = 0.0, **data: Any) -> Any:
    """An event about a command."""
    data = {"commandId": command_id, **data}
    return event(f"command.{phase}", execution_id, at_s, id=f"{command_id}:{phase}:{at_s}", data=data)


async def open_commands(store: Store, before_s: float, limit: int = 10) -> Sequence[CommandRow]:
    """What nobody has answered."""
    return await store.read(lambda reader: reader.open_commands(NOW_US + round(before_s * SECOND_US), limit))


class CommandContract:
    """Mixed into a driver's class, which gives the fixture `store`."""

    async def test_facts_of_several_batches_are_one_command(self, store: Store) -> None:
        """Whatever order they come in; asked for by execution and by id."""
        feed = Feed(store)
        await feed.send(said("accepted", at_s=2), said("requested", "cmd_2", at_s=3, kind="cancel"))
        await feed.send(said("requested", at_s=1, kind="execute", actor="ada", args={"a": [1]}))
        await feed.send(said("completed", at_s=4))
        key = await key_of(store)
        first, second = await store.read(lambda reader: reader.commands(key))
        assert (first.id, first.state, first.told("actor"), first.told("args")) == (
            "cmd_1",
            "completed",
            "ada",
            {"a": [1]},
        )
        assert (first.since_us, first.ended_us) == (NOW_US + SECOND_US, NOW_US + 4 * SECOND_US)
        assert (second.id, second.state) == ("cmd_2", "requested")
        found = await store.read(lambda reader: reader.command("default", "cmd_1"))
        assert found == CommandRow("default", "exec_1", "wf_1", first, key)

    async def test_facts_of_one_batch_are_one_command(self, store: Store) -> None:
        """Among them several of one phase, of which the earliest holds."""
        await Feed(store).send(
            said("requested", at_s=2, kind="retry"), said("requested", at_s=1, kind="cancel"), said("refused", at_s=3)
        )
        key = await key_of(store)
        [command] = await store.read(lambda reader: reader.commands(key))
        assert (command.told("kind"), command.state) == ("cancel", "refused")

    async def test_a_team_sees_its_own_commands(self, store: Store) -> None:
        """Another team's is not there, nor one that nobody has asked for."""
        await Feed(store).send(said("requested") | {"teamId": "acme"})
        assert (await store.read(lambda reader: reader.command("acme", "cmd_1"))) is not None
        assert (await store.read(lambda reader: reader.command("default", "cmd_1"))) is None
        assert (await store.read(lambda reader: reader.command("acme", "cmd_2"))) is None

    async def test_equal_ids_of_two_executions_are_two_commands(self, store: Store) -> None:
        """Each is asked for by its own; by the id alone, the first is found."""
        await Feed(store).send(said("requested"), said("requested", execution_id="exec_2"))
        found = await store.read(lambda reader: reader.command("default", "cmd_1"))
        assert found is not None
        assert found.execution_id == "exec_1"
        key = await key_of(store, "exec_2")
        assert len(await store.read(lambda reader: reader.commands(key))) == 1

    async def test_what_nobody_answered_is_found_oldest_first(self, store: Store) -> None:
        """Of every team, asked for before a time; an answer takes it off the list, however late the request comes."""
        feed = Feed(store)
        await feed.send(said("requested", "cmd_3", at_s=3), said("requested", "cmd_1", at_s=1))
        await feed.send(said("requested", "cmd_2", "exec_2", at_s=2) | {"teamId": "acme"})
        await feed.send(said("refused", "cmd_4", at_s=1), said("requested", "cmd_4", at_s=0))
        assert [row.command.id for row in await open_commands(store, 10)] == ["cmd_1", "cmd_2", "cmd_3"]
        assert [row.team for row in await open_commands(store, 10, limit=2)] == ["default", "acme"]
        assert [row.command.id for row in await open_commands(store, 2)] == ["cmd_1"]
        [first, *rest] = await open_commands(store, 10)
        assert list(await store.read(lambda reader: reader.open_commands(NOW_US * 2, 10, first.spot))) == rest
        assert await store.read(lambda reader: reader.open_commands(NOW_US * 2, 10, rest[-1].spot)) == []
        await feed.send(said("accepted", "cmd_1", at_s=9))
        assert [row.command.id for row in await open_commands(store, 10)] == ["cmd_2", "cmd_3"]

    async def test_a_deleted_execution_takes_its_commands_with_it(self, store: Store) -> None:
        """Those that were stored and those of the same batch."""
        feed = Feed(store)
        await feed.send(said("requested"), said("requested", execution_id="exec_2"))
        await feed.send(said("requested", "cmd_2"), event("execution.deleted"))
        assert [row.execution_id for row in await open_commands(store, 10)] == ["exec_2"]
        assert (await store.read(lambda reader: reader.command("default", "cmd_2"))) is None
