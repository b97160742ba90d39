"""What a deleted execution told is in no file any more; what everybody else goes by is as it was."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from monitor.app import Parts
from monitor.events.model import Event
from monitor.fanout.replay import Replay
from monitor.keeping.rebuild import rebuild
from monitor.settings import Settings
from tests.support.folders import opened, rows, told, unwatched

SECRET = "s3cret-7f1c9e"
OTHER = "k3pt-44d0a1"
FILES = ("journal.db", "journal.db-wal", "store.db", "store.db-wal")


def life(id_: str, secret: str) -> list[dict[str, Any]]:
    """An execution that tells a secret in every place that an event has for it."""
    about = {"executionId": id_, "workflowId": "wf_1", "timestamp": "2026-11-22T10:30:00Z", "source": "runner"}
    error = {"type": "Refused", "message": f"'{secret}' was refused", "stack": secret}
    told_by: list[tuple[str, dict[str, Any]]] = [
        ("started", {"inputData": {"text": secret}, "trigger": {"type": "webhook", "payload": secret}}),
        ("annotated", {"note": secret, "tags": [secret]}),
        ("progress", {"message": secret}),
        ("failed", {"error": error, "duration": 1.5, "outputData": [secret, "x" * 300_000, secret], "reason": secret}),
    ]
    return [
        *(about | {"type": f"execution.{kind}", "data": data} for kind, data in told_by),
        about | {"type": "node.failed", "data": {"nodeId": "n", "duration": 1.0, "outputData": secret, "error": error}},
        about | {"type": "log.appended", "data": {"lines": [{"message": f"{secret} {n}"} for n in range(50)]}},
        about | {"type": "command.requested", "data": {"commandId": "c", "kind": "stop", "reason": secret}},
        about | {"type": "made.up", "data": {"anything": secret}, "traceparent": secret},
    ]


def deleted(id_: str) -> dict[str, Any]:
    """Somebody deletes it."""
    return {"executionId": id_, "type": "execution.deleted", "timestamp": "2026-11-22T10:31:00Z"}


def found_in(data: Path, text: str) -> set[str]:
    """Files of the folder that hold `text`."""
    return {name for name in FILES if (data / name).exists() and text.encode() in (data / name).read_bytes()}


async def events_of(parts: Parts) -> list[Event]:
    """Everything that the journal holds, each of which has to be an event."""
    events = parts.decoding.revealed(await parts.journal.read(0, 0, 1 << 40, 10_000))
    assert all(isinstance(event, Event) for event in events)
    return [event for event in events if isinstance(event, Event)]


async def test_nothing_of_it_is_left_in_the_files(tmp_path: Path) -> None:
    """Whether it came once or again, before the deletion or after it, while the service runs and once it has ended."""
    data = tmp_path / "data"
    async with opened(data) as parts:
        await told(parts, [*life("other", OTHER), *life("gone", SECRET)])
        assert found_in(data, SECRET)
    async with opened(data) as parts:
        # Intake has forgotten them: they are in the journal twice.
        await told(parts, life("gone", SECRET)[:3])
        await told(parts, [deleted("gone")])
        await parts.eraser.tidy()
        assert (found_in(data, SECRET), found_in(data, OTHER)) == (set(), {"journal.db", "store.db"})
    async with opened(data) as parts:
        late = life("gone", SECRET)[0] | {"id": "late", "timestamp": "2026-11-22T10:32:00Z"}
        await told(parts, [*life("gone", SECRET)[3:], late])
        assert found_in(data, SECRET)
        await parts.eraser.tidy()
        assert found_in(data, SECRET) == set()
    assert found_in(data, SECRET) == set()
    assert rows(data / "store.db", "SELECT count(*) FROM quarantine") == [(0,)]
    assert rows(data / "store.db", "SELECT count(*) FROM erasures") == [(0,)]


async def test_what_is_read_again_is_the_same_fact(tmp_path: Path) -> None:
    """Same events at the same places, without what they told; another team's execution of that id is untouched."""
    async with opened(tmp_path / "data") as parts:
        await told(parts, life("gone", SECRET))
        await told(parts, life("gone", OTHER), team="acme")
        await told(parts, [deleted("gone")])
        before = await events_of(parts)
        await parts.eraser.tidy()
        after = await events_of(parts)
        same = ("team", "type", "execution_id", "workflow_id", "time_us", "id", "digest", "checksum", "source")
        assert [[getattr(it, name) for name in same] for it in after] == [
            [getattr(it, name) for name in same] for it in before
        ]
        assert [it.data for it in after if it.team == "acme"] == [it.data for it in before if it.team == "acme"]
        assert {it.type: it.data for it in after if it.team == "default" and it.data} == {
            "execution.started": {"trigger": {"type": "webhook"}},
            "execution.failed": {"duration": 1.5},
            "node.failed": {"nodeId": "n", "duration": 1.0},
            "log.appended": {"lines": [{"message": ""}]},
            "command.requested": {"commandId": "c"},
        }
        replay = Replay(parts.journal, parts.store, parts.decoding)
        page = await replay.page(await replay.earliest(), await replay.latest(), 1000)
        assert [it.event.id for it in page.releases] == [it.id for it in before]


@pytest.mark.parametrize("has_store", [True, False], ids=["rebuilt", "folded from nothing"])
async def test_folding_anew_gives_the_same(tmp_path: Path, has_store: bool) -> None:
    """The blank at the end is still the record that was folded last; the tombstone and what is counted come again."""
    data = tmp_path / "data"
    states = (
        "SELECT key, team, id, workflow_id, status, deleted, ended_us, duration_us FROM executions ORDER BY key",
        'SELECT hour, status, "trigger", bucket, count, total_us FROM statistics WHERE count > 0 ORDER BY 1, 2, 3, 4',
        "SELECT hour, node_id, status, bucket, count FROM run_statistics WHERE count > 0 ORDER BY 1, 2, 3, 4",
        "SELECT key, events, tail FROM progress ORDER BY key",
        "SELECT next, anchor FROM offsets",
    )
    async with opened(data) as parts:
        await told(parts, [*life("gone", SECRET), deleted("gone")])
        await parts.eraser.tidy()
    before = [rows(data / "store.db", state) for state in states]
    if has_store:
        assert (await rebuild(Settings(data=data), unwatched)).differing == 0
    else:
        (data / "store.db").unlink()
        async with opened(data) as parts:
            await parts.pipeline.catch_up()
            await parts.eraser.tidy()
    assert [rows(data / "store.db", state) for state in states] == before
    assert rows(data / "store.db", "SELECT count(*) FROM quarantine") == [(0,)]


async def test_who_still_reads_delays_the_end_of_it_alone(tmp_path: Path) -> None:
    """A snapshot of before keeps the old pages: the next round finds that something is left to do."""
    data = tmp_path / "data"
    async with opened(data) as parts:
        await told(parts, [*life("gone", SECRET), deleted("gone")])

        async def erased_meanwhile(*_: object) -> bool:
            return False

        inner, parts.eraser._wipe_store = parts.eraser._wipe_store, erased_meanwhile
        await parts.eraser.tidy()
        assert await parts.store.read(lambda reader: len(reader.erasures(10))) == 1
        parts.eraser._wipe_store = inner
        await parts.eraser.tidy()
        assert await parts.store.read(lambda reader: reader.erasures(10)) == []
        assert found_in(data, SECRET) == set()


async def test_what_retention_takes_meanwhile_hides_nothing(tmp_path: Path) -> None:
    """Records that were found and are gone when they are looked at do not keep those behind them from being blanked."""
    data = tmp_path / "data"
    async with opened(data) as parts:
        told_first = [life("gone", OTHER)[2] | {"id": f"e{number}"} for number in range(30)]
        await told(parts, [*told_first, *life("gone", SECRET), deleted("gone")])
        find = parts.journal.find

        async def trimmed_meanwhile(partition: int, *asked: Any) -> Sequence[int]:
            found = await find(partition, *asked)
            await parts.journal.trim(partition, len(told_first))
            return found

        parts.journal.find = trimmed_meanwhile  # type: ignore[assignment,method-assign]
        await parts.eraser.tidy()
        assert found_in(data, SECRET) == set()
