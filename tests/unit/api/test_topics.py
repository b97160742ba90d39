"""What travels over Kafka is what the contract tells."""

import pytest

from monitor.app import spoken
from monitor.engines.base import Cancel, Command, Execute, Retry
from monitor.engines.kafka import command_document
from monitor.web.async_contract import asyncapi
from tests.support.spoken import Contract
from tests.support.webhooks import NOW_US

CONTRACT = Contract(asyncapi(spoken()))
IDS = ("cmd_1", "acme", "exec_1", "wf_1")


@pytest.mark.parametrize(
    "command",
    [
        Execute(*IDS),
        Execute(*IDS, input_data=[{"json": {}}]),
        Cancel(*IDS),
        Retry(*IDS, retry_of="exec_0"),
        Retry(*IDS, retry_of="exec_0", input_data={}, start_nodes=("n2",), load_workflow=True),
    ],
)
def test_runners_read_what_the_contract_tells(command: Command) -> None:
    """Each kind of command has its arguments, and no others."""
    document = command_document(command, NOW_US)
    assert CONTRACT.faults("commands", document, word="kind") == []
    odd = {**document, "args": {**document["args"], "odd": 1}}
    assert CONTRACT.faults("commands", odd, word="kind")


@pytest.mark.parametrize(
    ("change", "is_fine"),
    [
        ({}, True),
        ({"data": {"nodeId": "n1", "duration": 0.3, "odd": 1}}, True),
        ({"type": "node.painted", "data": None}, True),
        ({"data": {}}, False),
        ({"executionId": 7}, False),
        ({"epoch": -1}, False),
    ],
)
def test_events_are_what_the_contract_tells(change: dict[str, object], is_fine: bool) -> None:
    """By type, with room for what producers say beside it."""
    event = {"type": "node.completed", "executionId": "e", "timestamp": "2026-11-22T10:30:00Z", "data": {"nodeId": "n"}}
    assert (CONTRACT.faults("events", event | change) == []) is is_fine
