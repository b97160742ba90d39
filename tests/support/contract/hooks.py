"""What schemathesis cannot take from the contract: values of its own formats, and refusals that no schema can tell.

Loaded by name (`SCHEMATHESIS_HOOKS`) into its process. `MONITOR_TRIED_POSITION` is a position of the service,
`MONITOR_TRIED_TOKEN` the id of the token that is shown, `MONITOR_TRIED_NOTES` a file that takes what was asked.
"""

import json
import os
import re
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import schemathesis
from hypothesis import strategies as st
from schemathesis import Case, HookContext
from schemathesis.core.failures import Failure
from schemathesis.core.transport import Response

_CHARACTERS: Final = st.characters(exclude_categories=["C", "Z"], exclude_characters=",").filter(str.isprintable)
_PRINTABLE: Final = st.text(_CHARACTERS, min_size=1, max_size=20)
_MOMENTS: Final = st.datetimes(
    min_value=datetime(1971, 1, 1),  # noqa: DTZ001 - the offset is written behind it
    max_value=datetime(2098, 1, 1),  # noqa: DTZ001
).map(lambda moment: f"{moment:%Y-%m-%dT%H:%M:%S}Z")

_FORMATS: Final[dict[str, st.SearchStrategy[str]]] = {
    "words": st.lists(_PRINTABLE, min_size=1, max_size=3).map(",".join),
    "printable": _PRINTABLE,
    "moment": _MOMENTS,
    "date-time": _MOMENTS,
    "uri": st.just("http://127.0.0.1:9/hook"),
    "cidr": st.ip_addresses(v=4).map(lambda address: f"{address}/32"),
    "position": st.just(os.environ.get("MONITOR_TRIED_POSITION", "")),
}

for _name, _strategy in _FORMATS.items():
    schemathesis.openapi.format(_name, _strategy)


_BEYOND_SCHEMAS: Final[Sequence[tuple[str, str]]] = (
    # What only this service can make, and only for one question.
    ("INVALID_CURSOR", r"The cursor was not made|An invalid cursor"),
    ("INVALID_POSITION", r"The position was not made"),
    # How members and parameters go together.
    ("INVALID_FILTER", r"startDate and endDate need dateRange=custom"),
    ("INVALID_FILTER", r"dateRange=custom needs startDate or endDate"),
    ("INVALID_FILTER", r"'startDate' is later than 'endDate'"),
    ("RANGE_NOT_SATISFIABLE", r"The range begins behind"),
    ("INVALID_REQUEST", r"'(from|since|startedAfter)' is later than '(to|until|startedBefore)'"),
    ("INVALID_REQUEST", r"'to' needs 'from'|'period' and 'from' exclude each other|'from' is not before"),
    ("INVALID_REQUEST", r"these are more than \d+ buckets|'granularity' minute|'trigger' tells executions apart"),
    ("INVALID_REQUEST", r"runs of a node are counted by the hour"),
    ("INVALID_REQUEST", r"'columns' (names one twice|does not know)|columns are of a CSV|nothing to note"),
    ("INVALID_REQUEST", r"'filter' and 'ids' exclude each other"),
    ("INVALID_BULK", r"a preview is of a 'filter'|name 'ids'|'previewToken'|'filter' (and|is not)"),
    ("INVALID_REPLAY", r"'since' is later than 'until'"),
    ("INVALID_WEBHOOK", r"'retrySchedule' adds up to"),
    ("INVALID_WEBHOOK", r"'\w+' (mixes|means nothing)"),
    ("INVALID_TOKEN", r"'expiresIn' and 'expiresAt' say the same"),
    ("INVALID_TOKEN", r"'expiresAt' has passed"),
    ("INVALID_REQUEST", r"a CSV has no place for payloads|'input' and 'inputData' are two names"),
    ("INVALID_TOKEN", r"the role '\w+' has none of these scopes"),
    # What is there already, and whose it is.
    ("IDEMPOTENCY_KEY_REUSED", r"This idempotency key came with another request"),
    ("INVALID_EVENT", r"(None of the events could be accepted: )?(another event of|'teamId' is not the team)"),
    ("INVALID_WEBHOOK", r"'secret' is in use already"),
    ("INVALID_REQUEST", r"pages end behind \d+ executions"),
    # Wider in their schemas than here: a position or a time, years, and whole numbers with a point.
    ("INVALID_REQUEST", r"'asOf' is not an RFC 3339 time|'\w+' lies outside the years"),
    ("INVALID_EVENT", r"(None of the events could be accepted: )?Expected `int`, got `float`"),
    ("CANNOT_DELETE_EXECUTION", r"Cannot delete a running execution"),
    # Names that a list of words would have to forbid one by one.
    ("INVALID_WEBHOOK", r"'headers"),
)
"""(code, beginning of the message) of refusals that are right although the request fits its schema."""


@schemathesis.hook
def filter_case(_context: HookContext, case: Case[Any]) -> bool:
    """Let the token live that all this is asked with."""
    is_revoked = case.method == "DELETE" and case.path == "/v1/tokens/{id}"
    return not (is_revoked and os.environ.get("MONITOR_TRIED_TOKEN", "-") in str(case.path_parameters))


@schemathesis.hook
def after_call(_context: HookContext, case: Case[Any], _response: Response) -> None:
    """Note what was asked, for who counts it afterwards (`tried.Asked`)."""
    if case.meta is not None and (notes := os.environ.get("MONITOR_TRIED_NOTES")):
        words = (case.operation.label, case.meta.generation.mode.value, case.meta.phase.name.value)
        with Path(notes).open("a", encoding="utf-8") as file:
            file.write("\t".join(words) + "\n")


@schemathesis.hook
def filter_failure(_context: HookContext, failure: Failure, case: Case[Any], response: Response) -> bool:
    """Keep every failure but refusals for what a schema cannot tell, and that a revoked token can still be seen."""
    if failure.code == "ST301" and case.path == "/v1/tokens/{id}":
        return bool(json.loads(response.content)["status"] != "revoked")
    if failure.code != "ST202":
        return True
    if "jsonl" in (case.media_type or "") or "ndjson" in (case.media_type or ""):
        # Lines of JSON are text to a schema.
        return False
    said, message = _refusal(json.loads(response.content))
    return not any(said in (code, None) and re.match(beginning, message) for code, beginning in _BEYOND_SCHEMAS)


def _refusal(body: dict[str, Any]) -> tuple[str | None, str]:
    """Its code, where the face has one, in our spelling, and its message."""
    error = body.get("error")
    if isinstance(error, dict):
        return error["code"].upper(), error["message"]
    return None, body["message"]
