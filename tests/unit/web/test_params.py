"""Parameters are taken strictly: what is unknown, repeated or out of range is refused by name."""

import pytest
from starlette.datastructures import QueryParams

from monitor.access.positions import position_token
from monitor.access.sealing import Sealer
from monitor.errors import InvalidPosition, InvalidRequest
from monitor.events.position import Position
from monitor.web.params import check_names, take_limit, take_one, take_position, take_word, take_words

SEALER = Sealer(bytes(32))


def ask(query: str) -> None:
    """Take the parameters of an address that knows a few."""
    asked = QueryParams(query)
    check_names(asked, {"limit", "include", "level", "minPosition"}, filters=True)
    take_limit(asked, default=20, most=100)
    take_words(asked, "include", {"data", "error"})
    take_word(asked, "level", {"info", "warn"})


@pytest.mark.parametrize(
    ("query", "field", "message"),
    [
        ("limt=5", "limt", "unknown parameter 'limt'; did you mean 'limit'?"),
        ("x=1", "x", "unknown parameter 'x'; known are include, level, limit, minPosition"),
        ("limit=0", "limit", "'limit' is a whole number from 1 to 100"),
        ("limit=101", "limit", "'limit' is a whole number from 1 to 100"),
        ("limit=", "limit", "'limit' is a whole number from 1 to 100"),
        ("limit=-1", "limit", "'limit' is a whole number from 1 to 100"),
        ("limit=1e1", "limit", "'limit' is a whole number from 1 to 100"),
        ("limit=%D9%A3", "limit", "'limit' is a whole number from 1 to 100"),
        ("limit=1&limit=2", "limit", "'limit' is given 2 times"),
        ("include=data,errors", "include", "'include' does not know 'errors'; did you mean 'error'?"),
        ("level=warning", "level", "'level' does not know 'warning'; did you mean 'warn'?"),
    ],
)
def test_what_is_wrong_is_named(query: str, field: str, message: str) -> None:
    """The parameter, what is wrong with it, and the nearest right word."""
    with pytest.raises(InvalidRequest) as caught:
        ask(query)
    assert (caught.value.message, caught.value.details) == (message, {"field": field})


def test_values_are_taken() -> None:
    """Lists by commas or repetition, defaults where nothing is said."""
    query = QueryParams("include=data,error&include=data&level=info&filter[x]=1")
    check_names(query, {"include", "level"}, filters=True)
    assert take_words(query, "include", {"data", "error"}) == {"data", "error"}
    assert take_word(query, "level", {"info"}) == "info"
    assert take_limit(query, default=20, most=100) == 20
    assert take_one(query, "cursor") is None


def test_positions_are_opened() -> None:
    """`minPosition` is a token of this service, or refused by name."""
    position = Position("0123456789ab", (3,))
    query = QueryParams({"minPosition": position_token(SEALER, position)})
    assert take_position(query, SEALER) == position
    assert take_position(QueryParams(), SEALER) is None
    with pytest.raises(InvalidPosition) as caught:
        take_position(QueryParams("minPosition=latest"), SEALER)
    assert caught.value.details == {"field": "minPosition"}
