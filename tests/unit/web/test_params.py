"""Parameters are taken strictly: what is unknown, repeated or out of range is refused by name."""

import pytest
from starlette.datastructures import QueryParams

from monitor.access.positions import position_token
from monitor.access.sealing import Sealer
from monitor.errors import InvalidPosition, InvalidRequest
from monitor.events.position import Position
from monitor.web.params import CURSOR, FILTERS, MIN_POSITION, Flag, Limit, Time, Word, Words, check_declared

SEALER = Sealer(bytes(32))

LIMIT = Limit(default=20, most=100)
INCLUDE = Words("include", ("data", "error"), "More.")
LEVEL = Word("level", ("info", "warn"), "How grave.")
SINCE = Time("since", "From then on.")
DRY = Flag("dry", "Change nothing.")
DECLARED = (LIMIT, INCLUDE, LEVEL, SINCE, DRY, MIN_POSITION, FILTERS)


def ask(query: str) -> None:
    """Take the parameters of an address that knows a few."""
    asked = QueryParams(query)
    check_declared(asked, DECLARED)
    for parameter in (LIMIT, INCLUDE, LEVEL, SINCE, DRY):
        parameter.take(asked)


@pytest.mark.parametrize(
    ("query", "field", "message"),
    [
        ("limt=5", "limt", "unknown parameter 'limt'; did you mean 'limit'?"),
        ("x=1", "x", "unknown parameter 'x'; known are dry, filter[...], include, level, limit, minPosition, since"),
        ("limit=0", "limit", "'limit' is a whole number from 1 to 100"),
        ("limit=101", "limit", "'limit' is a whole number from 1 to 100"),
        ("limit=", "limit", "'limit' is a whole number from 1 to 100"),
        ("limit=-1", "limit", "'limit' is a whole number from 1 to 100"),
        ("limit=1e1", "limit", "'limit' is a whole number from 1 to 100"),
        ("limit=%D9%A3", "limit", "'limit' is a whole number from 1 to 100"),
        ("limit=1&limit=2", "limit", "'limit' is given 2 times"),
        ("include=data,errors", "include", "'include' does not know 'errors'; did you mean 'error'?"),
        ("level=warning", "level", "'level' does not know 'warning'; did you mean 'warn'?"),
        ("dry=1", "dry", "'dry' does not know '1'; known are false, true"),
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
    check_declared(query, DECLARED)
    assert INCLUDE.take(query) == {"data", "error"}
    assert LEVEL.take(query) == "info"
    assert LIMIT.take(query) == 20
    assert CURSOR.take(query) is None
    assert SINCE.take(QueryParams("since=1970-01-01T00:00:01Z")) == 1_000_000
    assert (DRY.take(query), DRY.take(QueryParams("dry=true"))) == (False, True)
    assert FILTERS.take(query) == [("filter[x]", "1")]


def test_positions_are_opened() -> None:
    """`minPosition` is a token of this service, or refused by name."""
    position = Position("0123456789ab", (3,))
    query = QueryParams({"minPosition": position_token(SEALER, position)})
    assert MIN_POSITION.take(query, SEALER) == position
    assert MIN_POSITION.take(QueryParams(), SEALER) is None
    with pytest.raises(InvalidPosition) as caught:
        MIN_POSITION.take(QueryParams("minPosition=latest"), SEALER)
    assert caught.value.details == {"field": "minPosition"}
