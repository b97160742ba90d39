"""CloudEvents 1.0 in: structured (all in the JSON) and binary (attributes as headers) become our canonical members.

Rules: the CloudEvents 1.0.2 core specification and its Kafka and HTTP bindings, by which our extension attributes are
lower-case: `executionid`, `workflowid`, `nodeid`, `teamid`, `sequence`, `epoch`, `backfill`. Called by `codec` only.
"""

from typing import Any, Final
from urllib.parse import unquote

from monitor.events.model import Refusal
from monitor.events.types import TYPES

_PREFIXES: Final = ("ce_", "ce-")

_MEMBERS: Final = {
    "id": "id",
    "source": "source",
    "time": "timestamp",
    "executionid": "executionId",
    "workflowid": "workflowId",
    "teamid": "teamId",
    "traceparent": "traceparent",
    "tracestate": "tracestate",
}
_NUMBERS: Final = ("sequence", "epoch")

ATTRIBUTES: Final = (*_MEMBERS, *_NUMBERS, "backfill", "subject", "nodeid")
"""What is read of an event, beside `specversion`, `type` and the data."""


def is_binary(headers: tuple[tuple[str, bytes], ...]) -> bool:
    """Whether the headers make the record a CloudEvent in binary mode."""
    return any(name.lower() in ("ce_specversion", "ce-specversion") for name, _ in headers)


def from_binary(headers: tuple[tuple[str, bytes], ...], data: Any) -> dict[str, Any]:
    """Canonical members of a binary-mode event whose payload is `data`. Raises Refusal.

    Header values are percent-decoded, as the HTTP binding (3.1.3.2) encodes them; Kafka's plain UTF-8 passes unchanged.
    """
    attributes: dict[str, Any] = {}
    for name, raw in headers:
        if name.lower().startswith(_PREFIXES):
            try:
                attributes[name.lower()[3:]] = unquote(raw.decode(), errors="strict")
            except UnicodeDecodeError:
                raise Refusal("invalid_field", name, f"header '{name}' is not UTF-8") from None
    return from_structured(attributes | {"data": data})


def from_structured(document: dict[str, Any]) -> dict[str, Any]:
    """Canonical members of a structured CloudEvent. Raises Refusal for what the specification forbids."""
    if document.get("specversion") != "1.0":
        raise Refusal("invalid_field", "specversion", "'specversion' is not 1.0")
    if "data_base64" in document:
        raise Refusal("invalid_field", "data_base64", "'data' must be JSON, not base64")
    members = {ours: document[theirs] for theirs, ours in _MEMBERS.items() if document.get(theirs) is not None}
    for name in _NUMBERS:
        if document.get(name) is not None:
            members[name] = _number(name, document[name])
    if document.get("backfill") is not None:
        members["backfill"] = _flag("backfill", document["backfill"])
    members["type"] = _own_name(document.get("type"))
    _add_subject(document, members)
    return members


def _number(name: str, said: Any) -> int:
    """`sequence` travels as a zero-padded string, since that extension orders lexicographically."""
    if type(said) is int:
        return said
    if isinstance(said, str) and said.isascii() and said.isdigit() and len(said) <= 20:
        return int(said)
    raise Refusal("invalid_field", name, f"'{name}' is not a whole number")


def _flag(name: str, said: Any) -> bool:
    """A header carries `true` or `false` in letters."""
    if isinstance(said, bool):
        return said
    if said in ("true", "false"):
        return bool(said == "true")
    raise Refusal("invalid_field", name, f"'{name}' is not true or false")


def _own_name(said: Any) -> Any:
    """`com.example.node.completed` means our `node.completed`; names that we do not know stay whole."""
    if isinstance(said, str):
        tail = ".".join(said.split(".")[-2:])
        if tail in TYPES:
            return tail
    return said


def _add_subject(document: dict[str, Any], members: dict[str, Any]) -> None:
    """Fill execution and node from `subject` = executions/{id}[/nodes/{node}] where no attribute names them."""
    parts = document["subject"].split("/") if isinstance(document.get("subject"), str) else []
    if len(parts) >= 2 and parts[0] == "executions":
        members.setdefault("executionId", parts[1])
    node_id = document.get("nodeid") or (parts[3] if len(parts) == 4 and parts[2] == "nodes" else None)
    data = document.get("data")
    if node_id is not None and (data is None or isinstance(data, dict)):
        data = {"nodeId": node_id} | (data or {})
    members["data"] = data
