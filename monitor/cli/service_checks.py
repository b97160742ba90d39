"""What `monitor doctor --url` tells of a service that runs somewhere: whether it is ready and why not, how far behind
it is, what it owes, and whether its clock goes like ours. It asks what needs no token.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Final, NamedTuple

import msgspec

from monitor.cli.findings import Finding, State
from monitor.cli.service import ANSWER_S, open_service, reason_of
from monitor.cli.store_checks import in_units

if TYPE_CHECKING:
    import aiohttp

RUNBOOK: Final = ".github/RUNBOOK.md"

REASONS: Final[Mapping[str, str]] = {
    "starting": "wait some seconds; if it stays, `monitor doctor` beside it tells who has the partitions",
    "catching_up": "wait while the lag shrinks; if it grows, the service is too slow: see CPU, disk and the store",
    "journal_unavailable": "see that the journal runs and can be reached; the service goes on by itself",
    "store_unavailable": "see that the store's disk has room, or that its database runs; the service goes on by itself",
    "halted": "`monitor quarantine ls` shows the records, `monitor quarantine resume` lets the partition go on",
}
"""What to do about each reason of `/readyz`."""

_PASSING: Final = ("starting", "catching_up")
"""Reasons that are part of every start."""

_SKEW_S: Final = 3.0
"""The header tells whole seconds, and the answer was under way."""
_BAD_SKEW_S: Final = 30.0

_NOTABLE_LAG_S: Final = 60.0
_NOTABLE_FOLLOWER_S: Final = 10.0
_OLD_DELIVERY_S: Final = 15 * 60.0

Samples = Mapping[str, Mapping[str, float]]
"""Values by metric and by its first label, which is empty where it has none."""


class Foreign(Exception):
    """Something else answers."""


class _Said(NamedTuple):
    """An answer of the service."""

    status: int
    body: bytes
    # When it was made, by the service's clock, in seconds since 1970; None where it does not say.
    made_s: float | None


class _Reason(msgspec.Struct, frozen=True):
    code: str
    message: str


class _Readiness(msgspec.Struct, frozen=True):
    reasons: Sequence[_Reason]


async def inspect_service(url: str) -> AsyncIterator[Finding]:
    """Everything that can be asked without credentials."""
    import aiohttp  # noqa: PLC0415 - loads only where a request is made

    async with open_service(url) as service:
        try:
            ready = await _ask(service.session, f"{service.url}/readyz")
            metrics = await _ask(service.session, f"{service.url}/metrics")
        except (aiohttp.ClientError, ValueError, OSError) as error:
            yield Finding("fail", "service", f"{url} does not answer: {reason_of(error)}", "start it, or correct --url")
            return
    try:
        findings = [*readiness_findings(ready.status, ready.body), *metric_findings(samples_of(metrics.body))]
    except Foreign:
        text = f"{url} answers, but not as this service does (HTTP status {ready.status})"
        yield Finding("fail", "service", text, "name the service's own address with --url")
        return
    for finding in (*findings, *clock_findings(ready.made_s, time.time())):
        yield finding


def readiness_findings(status: int, body: bytes) -> Iterator[Finding]:
    """What `/readyz` says. Raises Foreign for what it never says."""
    try:
        reasons = msgspec.json.decode(body, type=_Readiness).reasons
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise Foreign from None
    if status not in (200, 503):
        raise Foreign
    if not reasons:
        yield Finding("ok", "ready", "work may be sent there")
    for reason in reasons:
        cure = REASONS.get(reason.code, f"see {RUNBOOK}")
        state: State = "warn" if reason.code in _PASSING else "fail"
        yield Finding(state, "ready", f"{reason.code}: {reason.message}", cure)


def samples_of(body: bytes) -> Samples:
    """What `/metrics` says. Raises Foreign for what it never says."""
    from prometheus_client.parser import text_string_to_metric_families  # noqa: PLC0415 - for this command alone

    found: dict[str, dict[str, float]] = {}
    try:
        for family in text_string_to_metric_families(body.decode()):
            for sample in family.samples:
                found.setdefault(sample.name, {})[next(iter(sample.labels.values()), "")] = sample.value
    except ValueError:
        raise Foreign from None
    if "monitor_events_applied_total" not in found:
        raise Foreign
    return found


def metric_findings(said: Samples) -> Iterator[Finding]:
    """What of it needs somebody."""
    ages_s = said.get("monitor_lag_seconds", {})
    for partition, records in sorted(said.get("monitor_lag_records", {}).items(), key=lambda it: int(it[0])):
        waited_s = ages_s.get(partition, 0.0)
        text = f"lag {records:.0f} record(s)" + (f", {in_units(waited_s)}" if records else "")
        is_late = waited_s > _NOTABLE_LAG_S
        cure = "see whether the lag shrinks: CPU, disk, store; another projector helps on Kafka" if is_late else ""
        yield Finding("warn" if is_late else "ok", f"partition {partition}", text, cure)
    if (behind_s := _single(said, "monitor_follower_lag_seconds")) > _NOTABLE_FOLLOWER_S:
        text = f"its streams have not been told of what is applied for {in_units(behind_s)}"
        yield Finding("warn", "gateway", text, "see its CPU, and whether it reaches journal and store; restart it")
    if undecided := _single(said, "monitor_quarantine_undecided"):
        text = f"{undecided:.0f} record(s) undecided"
        yield Finding("warn", "quarantine", text, "correct whoever sends them; `monitor quarantine ls` shows them")
    yield _owed(said)


def _owed(said: Samples) -> Finding:
    counts = {state: count for state, count in said.get("monitor_webhook_backlog", {}).items() if count}
    text = ", ".join(f"{count:.0f} {state}" for state, count in sorted(counts.items())) or "nothing"
    age_s, broken = _single(said, "monitor_webhook_backlog_age_seconds"), _single(said, "monitor_webhook_open_breakers")
    text = f"owed: {text}" + (f"; the oldest pending one is {in_units(age_s)} old" if age_s else "")
    if broken:
        text += f"; {broken:.0f} endpoint(s) fail"
    if broken or age_s > _OLD_DELIVERY_S:
        return Finding("warn", "webhooks", text, "GET /v1/webhooks tells which endpoint fails, and why")
    return Finding("ok", "webhooks", text)


def clock_findings(made_s: float | None, now_s: float) -> Iterator[Finding]:
    """Whether its clock goes like this machine's."""
    if made_s is None:
        return
    skew_s = made_s - now_s
    # The header is cut to whole seconds.
    if -1 - _SKEW_S < skew_s < _SKEW_S:
        yield Finding("ok", "clock", "goes like this machine's")
        return
    text = f"is {in_units(abs(skew_s))} {'ahead of' if skew_s > 0 else 'behind'} this machine's"
    cure = "have both follow the same time server (chrony, ntpd)"
    yield Finding("fail" if abs(skew_s) > _BAD_SKEW_S else "warn", "clock", text, cure)


def _single(said: Samples, name: str) -> float:
    return said.get(name, {}).get("", 0.0)


async def _ask(session: "aiohttp.ClientSession", url: str) -> _Said:
    async with asyncio.timeout(ANSWER_S), session.get(url) as response:
        body = await response.read()
        date = response.headers.get("date", "")
    try:
        made_s = parsedate_to_datetime(date).timestamp()
    except ValueError:
        made_s = None
    return _Said(response.status, body, made_s)
