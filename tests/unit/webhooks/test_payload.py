"""Receivers get the event in the words of the public API, never too large, and nothing that must not leave."""

from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from monitor.access.masking import DEFAULT_RULES, Masking
from monitor.projections.fold import Release
from monitor.webhooks.payload import MAX_BODY_BYTES, SCHEMA_VERSION, Bodies
from tests.support.webhooks import make_release

PUBLIC_URL = "https://monitor.example.com/base"
BODIES = Bodies(PUBLIC_URL)
ERROR = {"error": {"type": "ConnectionError"}}


def filled(data_bytes: int) -> dict[str, Any]:
    """Data that takes as many bytes in JSON."""
    return {"text": "x" * (data_bytes - len('{"text":""}'))}


def shown(release: Release, *rules: str) -> Release:
    """The release of the same event, as it leaves the journal's door under the usual rules and these."""
    return replace(release, event=Masking([*DEFAULT_RULES, *rules]).masked_event(release.event))


def test_full_body_is_the_event_with_its_place() -> None:
    """The members of the public API's example in their order, then what receivers need to sort and to deduplicate."""
    body = BODIES.of(make_release(sequence=4, offset=11, data=ERROR), thin=False)
    assert list(msgspec.json.decode(body).items()) == [
        ("event", "execution.failed"),
        ("executionId", "exec_1"),
        ("workflowId", "wf_1"),
        ("workflowName", "GitHub to Slack"),
        ("timestamp", "2026-11-22T10:30:00Z"),
        ("data", ERROR),
        ("id", "ev_1"),
        ("type", "execution.failed"),
        ("sequence", 4),
        ("version", 12),
        ("schemaVersion", SCHEMA_VERSION),
    ]


def test_producer_that_does_not_count_gives_no_sequence() -> None:
    """The member is there all the same."""
    assert msgspec.json.decode(BODIES.of(make_release(sequence=0), thin=False))["sequence"] is None


def test_thin_body_has_a_link_for_its_data() -> None:
    """Everything else is the same."""
    release = make_release(data=ERROR)
    full, thin = (msgspec.json.decode(BODIES.of(release, thin=thin)) for thin in (False, True))
    assert full.pop("data") == ERROR
    assert thin.pop("dataUrl") == f"{PUBLIC_URL}/v1/executions/exec_1/data"
    assert thin == full


@pytest.mark.parametrize(
    ("execution_id", "escaped"),
    [("a/b?c#d", "a%2Fb%3Fc%23d"), ("n8n:1 2", "n8n%3A1%202"), ("é🚀", "%C3%A9%F0%9F%9A%80")],
)
def test_link_survives_any_id(execution_id: str, escaped: str) -> None:
    """Ids are strangers' words; without a public URL the link is the path alone."""
    body = Bodies("").of(make_release(execution_id=execution_id), thin=True)
    assert msgspec.json.decode(body)["dataUrl"] == f"/v1/executions/{escaped}/data"


@pytest.mark.parametrize(("excess_bytes", "member"), [(-1, "data"), (0, "data"), (1, "dataUrl")])
def test_case_52_body_beyond_256_kib_is_thin(excess_bytes: int, member: str) -> None:
    """Exactly 256 KiB are still sent whole; one byte more sends the link."""
    around_bytes = len(BODIES.of(make_release(data={}), thin=False)) - len("{}")
    data = filled(MAX_BODY_BYTES - around_bytes + excess_bytes)
    body = BODIES.of(make_release(data=data), thin=False)
    assert member in msgspec.json.decode(body)
    assert (len(body) == MAX_BODY_BYTES + excess_bytes) is (member == "data")


def test_case_52_what_masking_shortens_may_be_sent_whole() -> None:
    """The size that counts is that of what is sent."""
    body = BODIES.of(shown(make_release(data={"token": "x" * MAX_BODY_BYTES})), thin=False)
    assert msgspec.json.decode(body)["data"] == {"token": "***"}


def test_case_53_body_holds_no_masked_value() -> None:
    """Neither by its name nor by its path, which begins with `data`, nor by its looks."""
    data = {"apiKey": "raw-1", "items": [{"password": "raw-2", "kept": 1}], "email": "raw-3", "text": "to raw@raw.org"}
    body = BODIES.of(shown(make_release(data=data), "data.email"), thin=False)
    assert msgspec.json.decode(body)["data"] == {
        "apiKey": "***",
        "items": [{"password": "***", "kept": 1}],
        "email": "***",
        "text": "to [email]",
    }
    assert b"raw" not in body


def test_case_53_names_outside_data_are_not_masked() -> None:
    """Receivers rely on the members around it, whatever the rules are called."""
    body = msgspec.json.decode(BODIES.of(shown(make_release(), "id", "event", "data", "execution_id"), thin=False))
    assert (body["id"], body["event"], body["executionId"], body["data"]) == ("ev_1", "execution.failed", "exec_1", {})


def test_same_event_gives_the_same_bytes() -> None:
    """Whoever plans it, on any day: what was signed can be signed again."""
    release = make_release(data={"b": [1.5, None], "a": "Grüße"})
    assert BODIES.of(release, thin=False) == Bodies(PUBLIC_URL).of(release, thin=False)


def test_large_numbers_and_any_text_are_sent_as_they_came() -> None:
    """Nothing is rounded or lost."""
    data = {"big": 2**70, "text": "\u2028\0🚀"}
    assert msgspec.json.decode(BODIES.of(make_release(data=data), thin=False))["data"] == data
