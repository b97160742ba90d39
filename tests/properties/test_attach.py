"""Whoever comes back with its last position, to whatever hub, misses nothing and sees nothing twice, or is told so.

The stories are random (`tests/support/story`), and so are the places at which connections are cut. Mistakes that are
easy to make are found out by the same stories.
"""

import pytest

from monitor.events.position import Position
from monitor.fanout.approach import Approach
from monitor.fanout.attachment import Attachment
from monitor.fanout.feed import Feed
from monitor.fanout.flushing import Flushing
from monitor.fanout.frames import Frame, frames_of
from monitor.fanout.slices import Slice
from monitor.fanout.snapshots import Snapshots
from tests.support.mistakes import Mistake
from tests.support.story import Story

STEPS = 150


@pytest.fixture(autouse=True)
def _small_measures(monkeypatch: pytest.MonkeyPatch) -> None:
    """A flush yields after every reader, and a log is too long after some lines."""
    monkeypatch.setattr("monitor.fanout.flushing.SLICE", 1)
    monkeypatch.setattr("monitor.fanout.slices.MAX_LINES", 5)
    monkeypatch.setattr("monitor.fanout.approach._SCANNED_ENTRIES", 20)


async def lived(seed: int, partitions: int) -> Story:
    """A story that is over."""
    story = Story(seed, partitions)
    await story.live(STEPS)
    return story


@pytest.mark.parametrize("partitions", [1, 3])
@pytest.mark.parametrize("part", range(3))
async def test_nothing_is_missed_and_nothing_comes_twice(part: int, partitions: int, long_form: bool) -> None:
    """Ten stories a part; three hundred in the long form."""
    stories = 300 if long_form else 10
    for seed in range(part * stories, (part + 1) * stories):
        assert (seed, (await lived(seed, partitions)).complaints) == (seed, [])


async def test_the_stories_take_every_path() -> None:
    """Whatever the hub can do for a client is part of them."""
    stories = [await lived(seed, 3) for seed in range(20)]
    for what in (
        *("resumed", "replayed", "pages", "fallen", "slow", "merged", "omitted_lines", "snapshots", "gaps"),
        *("stream.gap", "stream.checkpoint", "stream.drain", "stream.slow", "stream.log-gap", "stream.snapshot-end"),
        *("execution.conflict", "execution.deleted", "execution.progress", "log.appended"),
    ):
        assert (what, sum(story.tally[what] for story in stories) > 0) == (what, True)


ROWS = "return await self._store.read(lambda reader: _rows(reader, question, self._render))"
THE_POSITION = "position = await self._store.read(lambda reader: reader.position())"
THE_ROWS = ROWS.replace("return", "rows =")
SOME_TURNS = "[await asyncio.sleep(0) for _ in range(5)]"
OTHER_POSITION = "return rows._replace(position=position)"

MISTAKES = {
    # Tokens.
    "a token one too high": Mistake(
        Frame.__init__, "= release, position\n", "= release, position.advanced(record.partition, record.offset + 2)\n"
    ),
    "a token one too low": Mistake(
        Frame.__init__,
        "= release, position\n",
        "= release, Position(position.incarnation, "
        "tuple(offset - (at == record.partition) for at, offset in enumerate(position.offsets)))\n",
    ),
    "tokens not merged": Mistake(Approach._token_behind, "if self.position == entry.position:", "if True:"),
    "covered by one partition": Mistake(Position.includes, "return all(", "return any("),
    "a derived event claims its cause": Mistake(
        frames_of,
        """\
        if position.covers(record.partition, record.offset):
            continue
        if index == last or releases[index + 1].event.record != record:
""",
        """\
        is_next = index == 0 or releases[index - 1].event.record != record
        if is_next and position.covers(record.partition, record.offset):
            continue
        if True:
""",
    ),
    "a record is torn apart": Mistake(
        Approach._encode, "if is_enough and entry.covered_by(self.position):", "if is_enough:"
    ),
    # Words about where a client stands.
    "a lost checkpoint": Mistake(Feed.checkpoint, "group.pending.add_control(frame)", "pass"),
    "a lost checkpoint behind a resume": Mistake(Attachment._join_group, "if self._told == self.position:", "if True:"),
    "a loss that nobody is told of": Mistake(
        Attachment._give_up,
        'self._jump("stream.gap", Gap(reason=reason), self.position)',
        "self._leave_group(); self.position = self._feed.position",
    ),
    "a new selection begins now": Mistake(
        Attachment.change, "(self._feed.position if is_first else self.position)", "self._feed.position"
    ),
    # Snapshots.
    "a snapshot read after its position": Mistake(
        Snapshots._read, ROWS, f"{THE_POSITION}; {SOME_TURNS}; {THE_ROWS}; {OTHER_POSITION}"
    ),
    "a snapshot read before its position": Mistake(
        Snapshots._read, ROWS, f"{THE_ROWS}; {SOME_TURNS}; {THE_POSITION}; {OTHER_POSITION}"
    ),
    "the position inside of a snapshot counts": Mistake(
        Attachment._jump, "self._showing.due.append(Due(self.selection.subscriptions, self._on_loss, has))", "pass"
    ),
    # Parked readers.
    "a parked reader written to twice": Mistake(
        Flushing._write, "if attachment.parked_at == at and attachment in parked:", "if attachment in parked:"
    ),
    "a parked reader skipped": Mistake(Feed.flush, "if group.parked:", "if False:"),
    "a parked reader skipped beyond its ring": Mistake(
        Flushing._unpushed, "if attachment.parked_at < group.ring.first:", "if False:"
    ),
    "a pushed chunk not counted": Mistake(
        Attachment._unpark, "= self.parked_at, NOT_PARKED,", "= self._cursor, NOT_PARKED,"
    ),
    "a pushed chunk moves no position": Mistake(Flushing._write, "attachment.position = position\n", "pass\n"),
    # What is merged and left out.
    "lines left out in silence": Mistake(Slice._omit, "self._parts.append(budget.omitted)", "pass"),
    "the first progress instead of the latest": Mistake(
        Slice._add_progress, "if before is not None:", "if before is not None:\n        return\n    if False:"
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES)
async def test_mistakes_are_found_out(mistake: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """By one story or another, over one partition or three."""
    MISTAKES[mistake].make(monkeypatch)
    for seed in range(150):
        if (await lived(seed, partitions=1 + 2 * (seed % 2))).complaints:
            return
    pytest.fail("every story went well")
