"""`monitor stats`: how executions went, as figures and small pictures, from a running service.

`told` turns the API's document into lines for people; `--json` prints the document as it is.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import msgspec
from rich.text import Text

from monitor.cli.screen import Screen
from monitor.cli.service import Away, Query, open_service
from monitor.errors import Unavailable
from monitor.telemetry.logs import printable

_PATH: Final = "/v1/executions/statistics"
_STEPS: Final = "▁▂▃▄▅▆▇█"
_MOST_COLUMNS: Final = 60
"""Of a picture: it stays on one line of a narrow window, with its name before it."""

_MOST_ROWS: Final = 10
_BAR: Final = 20
_STYLES: Final = {"success": "green", "failed": "red", "timeout": "red", "crashed": "red", "cancelled": "yellow"}


async def show_statistics(url: str, query: Query, token: str | None, *, as_json: bool) -> int:
    """Print what the service counts; returns 0. Raises Unavailable when nobody answers, and Refused."""
    screen = Screen()
    try:
        async with open_service(url, token) as service:
            document = (await service.read(_PATH, query)).document
    except Away as away:
        raise Unavailable(f"{url}: {away.reason}") from None
    if as_json:
        screen.show_json(msgspec.json.encode(document))
        return 0
    for line in told(document):
        screen.show(line)
    return 0


def told(document: Mapping[str, Any]) -> Iterator[Text]:
    """The document in lines."""
    yield Text(f"{document['from'][:16]} to {document['to'][:16]} UTC, by {document['granularity']}", style="dim")
    yield from _totals(document)
    data = document["data"]
    for name, member, style in (("executions", "executions", "cyan"), ("failures", "failures", "red")):
        values = [bucket[member] for bucket in data]
        yield Text.assemble(f"{name:<12}", (picture(values), style), f"  at most {max(values, default=0)}")
    averages = [bucket["avgTime"] for bucket in data]
    longest = _seconds(max(averages, default=0.0))
    yield Text.assemble(f"{'mean time':<12}", (picture(averages), "magenta"), f"  at most {longest}")
    yield from _statuses(document["byStatus"])
    yield from _workflows(document["byWorkflow"])
    yield from _errors(document["byError"])


def picture(values: Sequence[float]) -> str:
    """One character a value, or the greatest of neighbours where there are too many; a blank is zero."""
    width = -(-len(values) // _MOST_COLUMNS)
    if not width:
        return ""
    columns = [max(values[at : at + width]) for at in range(0, len(values), width)]
    highest = max(columns)
    return "".join(_STEPS[int((len(_STEPS) - 1) * value / highest)] if value else " " for value in columns)


def bar(share: float, width: int = _BAR) -> str:
    """A share of 0 to 1; more than nothing is never blank."""
    filled = max(round(share * width), 1 if share else 0)
    return "█" * filled + "·" * (width - filled)


def _totals(document: Mapping[str, Any]) -> Iterator[Text]:
    rate, found = document["successRate"], document["percentiles"]
    succeeded = "nothing ended" if rate is None else f"{rate:.1%} succeeded"
    ended = f"{document['totalExecutions']} ended, {document['failedExecutions']} failed"
    yield Text(f"{ended}, {succeeded}, {document['inFlight']} in flight", style="bold")
    if found["p50"] is not None:
        percentiles = ", ".join(f"{name} {_seconds(value)}" for name, value in found.items())
        yield Text(f"mean {_seconds(document['averageExecutionTime'])}, {percentiles}")


def _statuses(counts: Mapping[str, int]) -> Iterator[Text]:
    total = sum(counts.values())
    for status, count in counts.items() if total else ():
        style = _STYLES.get(status, "")
        yield Text.assemble(f"{status:<12}", (bar(count / total), style), f"  {count}")


def _workflows(shares: Sequence[Mapping[str, Any]]) -> Iterator[Text]:
    if not shares:
        return
    yield Text("workflows", style="bold")
    most = max(share["executions"] for share in shares)
    for share in shares[:_MOST_ROWS]:
        name = printable(share["workflowName"] or share["workflowId"])[:30]
        figures = f"  {share['executions']}, {share['successRate']:.1%} succeeded, mean {_seconds(share['avgTime'])}"
        yield Text.assemble(f"  {name:<30} ", (bar(share["executions"] / most), "cyan"), figures)


def _errors(shares: Sequence[Mapping[str, Any]]) -> Iterator[Text]:
    if not shares:
        return
    yield Text("errors", style="bold")
    for share in shares[:_MOST_ROWS]:
        message = printable(f"{share['type'] or 'Error'}: {share['message'] or ''}")[:80]
        yield Text(f"  {share['executions']:>6}  {share['fingerprint']}  {message}")


def _seconds(value: float) -> str:
    return f"{value * 1000:.0f} ms" if value < 1 else f"{value:.3g} s" if value < 1000 else f"{value:.0f} s"
