"""Events are masked without changing what happened, for the workflow that they are of."""

import copy
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from monitor.access.decoding import Decoding
from monitor.access.masking import DEFAULT_RULES, Masking
from monitor.events.codec import decode
from monitor.events.model import DEFAULT_TEAM, Event, Record
from monitor.projections.execution import Execution
from monitor.projections.fold import fold
from tests.support.secret_corpus import secrets

USUAL, BY_KIND = Masking(DEFAULT_RULES), Masking(["type:*"])
SECRETS = [secret.value for secret in secrets() if isinstance(secret.value, str)]


def record(offset: int = 0, **members: Any) -> Record:
    """With an event in it."""
    event = {"type": "node.completed", "executionId": "e1", "timestamp": "2026-11-22T10:30:00Z", **members}
    return Record(0, offset, None, json.dumps(event).encode(), (), 1)


def decoding(masking: Masking) -> Decoding:
    """One team's."""
    return Decoding(lambda _record, _said: DEFAULT_TEAM, masking)


def event(masking: Masking, **members: Any) -> Event:
    """The event as it leaves the door."""
    [shown] = decoding(masking).events([record(**members)])
    assert isinstance(shown, Event)
    return shown


texts = st.one_of(st.text(max_size=30), st.sampled_from(SECRETS), st.sampled_from(SECRETS).map(lambda it: f"a {it} b"))
numbers = st.integers(-(2**60), 2**60) | st.floats(allow_nan=False, allow_infinity=False)
values = st.recursive(
    st.none() | st.booleans() | numbers | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=12,
)
RULES = st.lists(
    st.sampled_from(
        [
            *("nodeId", "status", "lines", "message", "*", "*.*", "data.*", "error", "duration", "-error", "-type:*"),
            *("type:*", "-data.lines", "parent", "timestamp", "lines.message", "x"),
        ]
    ),
    max_size=4,
)


def shape(value: Any) -> Any:
    """What is left of a value without its texts and names."""
    if isinstance(value, dict):
        return [shape(inner) for inner in value.values()]
    if isinstance(value, list):
        return [shape(inner) for inner in value]
    return None


@given(values)
def test_kinds_change_texts_and_nothing_else(value: Any) -> None:
    """No member and no item comes or goes, nothing given is touched, and twice is once."""
    masking, before = BY_KIND, copy.deepcopy(value)
    shown = masking.masked(value)
    assert value == before
    assert shape(shown) == shape(value)
    assert masking.masked(shown) == shown
    if not masking.may_hold(json.dumps(value).encode()):
        assert shown is value


@given(RULES, values, st.sampled_from(["success", "failed"]), st.integers(0, 3))
def test_no_rule_changes_the_course_of_an_execution(rules: list[str], value: Any, status: str, attempt: int) -> None:
    """Status, times, nodes and counts fold to the same, whatever is hidden, and nothing fails."""
    members: list[dict[str, Any]] = [
        {"type": "execution.started", "data": {"nodeCount": 2, "retryOf": "e0", "inputData": value, "tags": ["t"]}},
        {"data": {"nodeId": "n1", "attempt": attempt + 1, "status": status, "duration": 1.5, "outputData": value}},
        {
            "type": "log.appended",
            "data": {"lines": [{"message": "m", "timestamp": "2026-11-22T10:31:00Z", "x": value}]},
        },
        {"type": "execution.progress", "data": {"completed": 1, "total": 4, "message": "m"}},
        {"type": "execution.failed", "data": {"status": "timeout", "duration": 9, "error": value}},
    ]
    records = [record(at, id=f"ev{at}", **each) for at, each in enumerate(members)]
    reader = decoding(Masking([*DEFAULT_RULES, *rules]))
    courses = []
    for events in (reader.events(records), reader.revealed(records)):
        execution = Execution(DEFAULT_TEAM, "e1")
        changes = fold(events, {(DEFAULT_TEAM, "e1"): execution})
        [touched] = changes.touched.values()
        lines = [line[:5] for line in touched.lines]
        nodes = {key: (node.status, node.duration_us) for key, node in execution.nodes.items()}
        courses.append(
            (execution.status, execution.duration_us, execution.progress.completed, nodes, lines, execution.seen)
        )
    assert courses[0] == courses[1]


def test_identity_is_that_of_the_bytes() -> None:
    """Checksum, digest and record stay, so that a repeat is one and other bytes are a conflict."""
    raw = decode(record(data={"nodeId": "n", "token": "x"}), lambda _record, _said: DEFAULT_TEAM)
    shown = event(USUAL, data={"nodeId": "n", "token": "x"})
    assert isinstance(raw, Event)
    assert shown == replace(raw, data={"nodeId": "n", "token": "***"})


def test_what_holds_nothing_suspicious_is_left_as_it_is() -> None:
    """Not even copied; what is no event stays poison, with its bytes."""
    events = decoding(USUAL).revealed([record(data={"nodeId": "n"}), Record(0, 1, None, b"{password=x", (), 1)])
    assert all(shown is given for shown, given in zip(USUAL.masked_events(events), events, strict=True))


@pytest.mark.parametrize(
    ("workflow", "salary", "email"),
    [
        ("payroll-1", "***", "[email]"),
        ("wf_7", 5000, "joe@example.com"),
        ("other", 5000, "[email]"),
        ("xpayroll-1", 5000, "[email]"),
        (None, "***", "[email]"),
    ],
)
def test_workflows_have_rules_of_their_own(workflow: str | None, salary: object, email: str) -> None:
    """More is hidden, or less; an event that names none is masked as for each of them."""
    masking = Masking(DEFAULT_RULES, {"payroll-*": ["salary"], "wf_7": ["-type:email"]})
    data = {"nodeId": "n", "salary": 5000, "to": "joe@example.com", "otp": "1"}
    shown = event(masking, data=data, **({"workflowId": workflow} if workflow else {}))
    assert shown.data == {"nodeId": "n", "salary": salary, "to": email, "otp": "***"}


def test_the_last_rule_that_fits_holds() -> None:
    """Also where it takes out what an earlier one hides, with everything in it."""
    masking = Masking(["token", "-metrics.token", "x.metrics.token", "-notes", "type:*"])
    metrics = {"token": {"password": "a@b.org"}}
    value = {"token": 1, "metrics": metrics, "x": {"metrics": {"token": 2}}, "notes": "a@b.org"}
    assert masking.masked(value) == {
        "token": "***",
        "metrics": {"token": {"password": "a@b.org"}},
        "x": {"metrics": {"token": "***"}},
        "notes": "a@b.org",
    }


def test_names_that_are_secrets_are_masked_and_stay_apart() -> None:
    """Members keep their number and their order."""
    value = {"a@b.org": 1, "c@d.org": 2, "[email]": 3}
    assert list(USUAL.masked(value).items()) == [("[email] 2", 1), ("[email] 3", 2), ("[email]", 3)]
