"""Answers write back whatever was read, and save sending what the asker has already."""

import msgspec
import pytest

from monitor.web.replies import is_known, json_reply


@pytest.mark.parametrize("text", [b"123456789012345678901234567890", b"[" * 400 + b"]" * 400, b'{"a":1.5e-7}'])
def test_strangers_data_survives(text: bytes) -> None:
    """Large integers and deep nesting are written as they were read."""
    assert json_reply(msgspec.json.decode(text)).body == text


@pytest.mark.parametrize(
    ("header", "known"),
    [
        ('"7"', True),
        ('W/"7"', True),
        ('"6", "7"', True),
        ("*", True),
        ("", False),
        ('"70"', False),
        ("7", False),
    ],
)
def test_if_none_match_is_compared_weakly(header: str, known: bool) -> None:
    """A list of tags, weak or strong, or the star."""
    assert is_known(header, 7) is known
