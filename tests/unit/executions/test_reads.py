"""The desk reads from one snapshot, and shows no more of an execution than one answer can carry."""

from typing import Any

import pytest

from monitor.access.principal import Principal
from monitor.errors import PositionNotReached
from monitor.executions import contents, reads
from monitor.executions.lines import AskedLines
from monitor.executions.reads import Reads
from tests.support.house import House, open_house

WHO = Principal(team="acme", name="tester", role="viewer")


def node(number: int, **data: Any) -> dict[str, Any]:
    """The end of node `number` of one execution."""
    return {
        "type": "node.completed",
        "executionId": "exec_1",
        "timestamp": f"2026-11-22T10:00:{number:02d}Z",
        "data": {"nodeId": f"n{number}", "nodeName": f"Node {number}", **data},
    }


@pytest.fixture
async def house() -> House:
    """A service."""
    return await open_house()


@pytest.fixture
def desk(house: House) -> Reads:
    """The desk of that service."""
    return Reads(house.store, house.hub)


async def test_an_execution_shows_so_many_nodes_and_its_data_all(
    house: House, desk: Reads, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first ones in order of start, and how many more there are."""
    monkeypatch.setattr(reads, "MAX_NODES_INLINE", 2)
    await house.tell(*[node(number, outputData=[number]) for number in range(5)])
    found = (await desk.execution(WHO, "exec_1", None, with_data=True, with_lines=False)).value
    assert found.data is not None
    assert ([run.key[0] for run in found.data.nodes], found.data.more_nodes) == (["n0", "n1"], 3)
    whole = (await desk.data(WHO, "exec_1", None)).value
    assert [run.output for run in whole.nodes] == [b"[0]", b"[1]", b"[2]", b"[3]", b"[4]"]
    assert (whole.more_nodes, whole.size_bytes) == (0, 15)


@pytest.mark.parametrize(("most_bytes", "shown"), [(0, 1), (5, 1), (6, 2), (1000, 5)])
async def test_data_ends_where_one_answer_is_full(
    house: House, desk: Reads, monkeypatch: pytest.MonkeyPatch, most_bytes: int, shown: int
) -> None:
    """However much an execution carried, an answer holds some of it, and says how many nodes it leaves out."""
    monkeypatch.setattr(reads, "MAX_DATA_BYTES", most_bytes)
    monkeypatch.setattr(reads, "MAX_PAGE_BYTES", most_bytes)
    monkeypatch.setattr(contents, "_NODES_AT_ONCE", 2)
    await house.tell(*[node(number, outputData=[number]) for number in range(5)])
    whole = (await desk.data(WHO, "exec_1", None)).value
    inline = (await desk.execution(WHO, "exec_1", None, with_data=True, with_lines=False)).value.data
    assert inline is not None
    for data in (whole, inline):
        assert [run.output for run in data.nodes] == [b"[%d]" % number for number in range(shown)]
        assert data.more_nodes == 5 - shown


async def test_only_what_was_asked_for_is_read(house: House, desk: Reads) -> None:
    """Neither data nor lines where nobody wants them."""
    await house.tell(node(1))
    found = (await desk.execution(WHO, "exec_1", None, with_data=False, with_lines=False)).value
    assert (found.data, found.lines) == (None, None)


async def test_the_first_lines_come_with_the_execution(
    house: House, desk: Reads, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No more than an answer shows; the log's own address has the rest."""
    monkeypatch.setattr(reads, "FIRST_LINES", 3)
    lines = [{"message": str(number)} for number in range(5)]
    await house.tell(node(1) | {"type": "log.appended", "data": {"lines": lines}})
    found = (await desk.execution(WHO, "exec_1", None, with_data=False, with_lines=True)).value
    assert [line.message for line in found.lines or ()] == ["0", "1", "2"]


async def test_a_read_tells_where_its_snapshot_stands(house: House, desk: Reads) -> None:
    """And waits for a position that is on its way."""
    await house.tell(node(1))
    reading = await desk.data(WHO, "exec_1", house.hub.position)
    assert reading.position == house.hub.position


async def test_a_read_does_not_wait_for_ever(house: House, desk: Reads, monkeypatch: pytest.MonkeyPatch) -> None:
    """A position that does not come is an error that says to try again."""
    monkeypatch.setattr(reads, "MAX_WAIT_S", 0.01)
    await house.tell(node(1))
    with pytest.raises(PositionNotReached):
        await desk.data(WHO, "exec_1", house.hub.position.advanced(0, 99))


async def test_what_was_added_to_lines_is_for_those_who_may_see_payloads(house: House, desk: Reads) -> None:
    """A viewer reads the messages; on the log's own address, beside the execution, and of then alike."""
    line = {"message": "hello", "data": {"order": 7}}
    about = {"executionId": "exec_1", "timestamp": "2026-11-22T10:00:00Z"}
    await house.tell({"type": "log.appended", **about, "data": {"lines": [line]}})
    for who, seen in ((WHO, None), (Principal("acme", "tester", "operator"), {"order": 7})):
        [alone] = (await desk.lines(who, "exec_1", None, AskedLines(levels=None, node_id=None, limit=5))).value.lines
        found, position = await desk.execution(who, "exec_1", None, with_data=False, with_lines=True)
        then = (await house.history.as_of(who, "exec_1", position, with_data=False, with_lines=True)).value
        assert [line.data for line in (alone, *(found.lines or ()), *(then.lines or ()))] == [seen] * 3
