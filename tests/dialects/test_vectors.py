"""Every example of the documents, asked of a house that runs workflows, is answered as the document shows it."""

from typing import Any

import pytest

from tests.support.commanding import commanding
from tests.support.vectors import Player, differences, vectors_of

DIALECTS = ("so1", "n8n", "team")

CASES = [pytest.param(it, id=f"{dialect}: {it['name']}") for dialect in DIALECTS for it in vectors_of(dialect)]


@pytest.mark.parametrize("vector", CASES)
async def test_document_example_is_answered_as_documented(vector: dict[str, Any]) -> None:
    """Status, members, types and, where it is not of the moment, values."""
    engine, request = Player(vector.get("runs", ())), vector["request"]
    async with commanding(engine) as house, house.client() as client:
        engine.tell = lambda events: house.tell(*events)
        await house.tell(*vector.get("given", ()))
        answer = await client.request(
            request["method"], request["path"], headers=request.get("headers"), json=request.get("body")
        )
    assert answer.status_code == vector.get("status", 200), answer.text
    if "text" in vector:
        assert answer.text == vector["text"]
    else:
        assert list(differences(vector["answer"], answer.json(), vector.get("differs", ()))) == []


@pytest.mark.parametrize(
    ("shown", "answer", "said"),
    [
        ({"a": 1}, {"b": 1}, "a: is missing"),
        ({"a": 1}, {"a": "1"}, "a: '1' is not 1"),
        ({"a": True}, {"a": 1}, "a: 1 is not True"),
        ({"a": [1, 2]}, {"a": [1]}, "a: [1] is not [1, 2]"),
        ({"x": "2024-03-10T15:30:00Z"}, {"x": "soon"}, "x: 'soon' is no time"),
        ({"x": 2.5}, {"x": None}, "x: None is not of the type of 2.5"),
        ({"a": "2024-03-10T15:30:02.3Z"}, {"a": "2024-03-10T15:30:02.400Z"}, "a: '2024"),
    ],
)
def test_a_difference_is_found(shown: Any, answer: Any, said: str) -> None:
    """Of any kind."""
    assert next(differences(shown, answer, ["x"])).startswith(said)
