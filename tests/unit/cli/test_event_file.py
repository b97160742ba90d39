"""Files of events are understood in each of their three forms, and every item is known by its place."""

import io
from collections.abc import Iterator

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.cli.event_file import BATCH_BYTES, BATCH_EVENTS, Item, batched, read_items
from monitor.errors import InvalidRequest


def items_of(content: bytes) -> list[Item]:
    """The items of a file `f` with this content."""
    return list(read_items("f", io.BytesIO(content)))


def test_lines_are_passed_on_byte_for_byte() -> None:
    """A derived id is a hash of the bytes, so not even a blank may change."""
    assert items_of(b'{"a":  1}\n\n{"a":1.0}\r\n') == [Item("f:1", b'{"a":  1}'), Item("f:3", b'{"a":1.0}')]


def test_last_line_needs_no_end() -> None:
    """Whoever writes by hand leaves it out."""
    assert items_of(b'{"a":1}') == [Item("f:1", b'{"a":1}')]


def test_array_gives_its_elements_on_one_line_each() -> None:
    """Numbers and strings keep their spelling; only the space between them goes."""
    content = b'\n [ {"a": 1.50,\n "b": "x  \\u00e9"}, 7 ]'
    assert items_of(content) == [Item("f[0]", b'{"a":1.50,"b":"x  \\u00e9"}'), Item("f[1]", b"7")]


def test_single_event_may_take_several_lines() -> None:
    """As an editor formats it."""
    assert items_of(b'{\n  "a": {\n    "b": 1\n  }\n}\n') == [Item("f:1", b'{"a":{"b":1}}')]


def test_what_is_no_json_is_left_to_the_service() -> None:
    """A broken first line costs that line only."""
    assert items_of(b'{"a":\n{"b":1}\n\xff\n') == [Item("f:1", b'{"a":'), Item("f:2", b'{"b":1}'), Item("f:3", b"\xff")]


@pytest.mark.parametrize("content", [b"", b"\n", b"  \n\n", b"[]"])
def test_empty_file_has_no_items(content: bytes) -> None:
    """Nothing is sent for it."""
    assert items_of(content) == []


def test_broken_array_is_refused_as_a_whole() -> None:
    """Its items cannot be told apart."""
    with pytest.raises(InvalidRequest, match="f begins like a JSON array and is none"):
        items_of(b'[{"a":1},')


def test_lines_are_read_as_they_are_wanted() -> None:
    """A file larger than memory, or a pipe that is still being written, is no obstacle."""

    class Endless(io.RawIOBase):
        def readable(self) -> bool:
            return True

        def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
            line = b'{"a":1}\n'
            buffer[: len(line)] = line
            return len(line)

    items: Iterator[Item] = read_items("pipe", io.BufferedReader(Endless()))
    assert [next(items).place for _ in range(3)] == ["pipe:1", "pipe:2", "pipe:3"]


@given(st.lists(st.integers(0, 2 * BATCH_BYTES // 3), max_size=12), st.integers(0, 2 * BATCH_EVENTS + 1))
def test_batches_hold_every_item_in_order_and_fit_a_request(sizes: list[int], small: int) -> None:
    """Whatever the sizes; only an item that is too large by itself goes alone and too large."""
    raw = bytes(2 * BATCH_BYTES)
    items = [Item(str(at), raw[:size]) for at, size in enumerate([*sizes, *[1] * small, 2 * BATCH_BYTES])]
    batches = list(batched(items))
    assert [item for batch in batches for item in batch] == items
    for batch in batches:
        assert 0 < len(batch) <= BATCH_EVENTS
        assert len(batch) == 1 or sum(len(item.raw) for item in batch) <= BATCH_BYTES


@given(
    st.lists(
        st.dictionaries(st.text(max_size=5), st.integers() | st.text(max_size=5) | st.floats(allow_nan=False)),
        min_size=2,
        max_size=5,
    )
)
def test_three_forms_say_the_same(events: list[dict[str, object]]) -> None:
    """Array, lines and single events carry the same values."""
    lines = [msgspec.json.encode(event) for event in events]
    decoded = [msgspec.json.decode(line) for line in lines]
    assert [msgspec.json.decode(item.raw) for item in items_of(b"[" + b",\n".join(lines) + b"]")] == decoded
    assert [msgspec.json.decode(item.raw) for item in items_of(b"\n".join(lines))] == decoded
    pretty = (msgspec.json.format(line, indent=2) for line in lines)
    assert [msgspec.json.decode(item.raw) for content in pretty for item in items_of(content)] == decoded
