"""Everything pushed is counted, and what was refused is named by its place."""

import json
from collections.abc import Sequence

import pytest

from monitor.cli.door import Verdict
from monitor.cli.event_file import BATCH_EVENTS, Item
from monitor.cli.pushing import NAMED_REFUSALS, Tally, print_tally, push_all

SPOKEN: dict[bytes, Verdict] = {b"a": Verdict("accepted"), b"d": Verdict("duplicate"), b"r": Verdict("rejected", "why")}


async def speak(events: Sequence[bytes]) -> list[Verdict]:
    """A door that judges by the first letter."""
    return [SPOKEN[event[:1]] for event in events]


async def test_tally_counts_each_verdict_and_names_refusals() -> None:
    """In order, by place."""
    tally = await push_all(
        speak, [Item(f"f:{at}", raw) for at, raw in enumerate([b"a", b"r", b"d", b"a"])], lambda _: None
    )
    assert tally == Tally(accepted=2, duplicate=1, rejected=1, refusals=[("f:1", "why")])


async def test_progress_is_told_after_each_batch_in_bytes() -> None:
    """Line ends count: their sum is the file's size."""
    told: list[int] = []
    await push_all(speak, [Item("f", b"aaa")] * (BATCH_EVENTS + 1), told.append)
    assert told == [4 * BATCH_EVENTS, 4]


def test_refusals_beyond_a_bound_are_counted_only() -> None:
    """A file of another kind must not fill the memory."""
    tally = Tally()
    tally.count([Item("f", b"r")] * (NAMED_REFUSALS + 5), [SPOKEN[b"r"]] * (NAMED_REFUSALS + 5))
    assert (tally.rejected, len(tally.refusals)) == (NAMED_REFUSALS + 5, NAMED_REFUSALS)


def test_report_for_people_puts_refusals_beside_the_result(capsys: pytest.CaptureFixture[str]) -> None:
    """The result can be piped on, the refusals are read."""
    print_tally(Tally(2, 1, 3, [("f:7", "no type")]), as_json=False)
    out, err = capsys.readouterr()
    assert out == "2 accepted, 1 duplicate, 3 rejected\n"
    assert err == "f:7: no type\n... and 2 more\n"


def test_refusals_do_not_steer_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    """Places and reasons quote what stood in a stranger's file."""
    print_tally(Tally(0, 0, 1, [("f\x1b[2J:7", "'\x9b31m\n' is no type")]), as_json=False)
    assert capsys.readouterr().err == r"f\x1b[2J:7: '\x9b31m\n' is no type" + "\n"


def test_report_for_programs_is_one_document(capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing else on stdout."""
    print_tally(Tally(0, 0, 1, [("f:7", "no type")]), as_json=True, more={"executions": {}})
    expected = {
        "accepted": 0,
        "duplicate": 0,
        "rejected": 1,
        "refusals": [{"place": "f:7", "reason": "no type"}],
        "executions": {},
    }
    assert json.loads(capsys.readouterr().out) == expected
