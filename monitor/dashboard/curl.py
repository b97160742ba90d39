"""An example of each operation as a command for a shell, made from the contract. Pure."""

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

Json = dict[str, Any]

ORIGIN: Final = "http://127.0.0.1:8080"
"""Where a service answers that is started without settings."""

_IDS: Final = {"executions": "exec_42", "workflows": "wf_7", "nodes": "slack_1"}
"""What ids look like, by the segment before them."""

_NAMED: Final[Mapping[str, Any]] = {
    "type": "execution.started",
    "executionId": "exec_42",
    "workflowId": "wf_7",
    "timestamp": "2026-11-22T10:30:00Z",
    "url": "https://example.com/hooks",
    "events": ["execution.failed"],
    "fromNode": "slack_1",
    "name": "nightly",
    "role": "viewer",
}
"""Values that say something, by the name of the member."""

_PLAIN: Final[Mapping[str, Any]] = {"string": "text", "integer": 1, "number": 1, "boolean": True, "object": {}}


def curl(method: str, path: str, operation: Json, schemas: Json) -> str:
    """The command: it sends a token where one is needed, and of the body what is required."""
    return " \\\n  ".join(_words(method, path, operation, schemas))


def _words(method: str, path: str, operation: Json, schemas: Json) -> Iterator[str]:
    is_live = any("text/event-stream" in answer.get("content", {}) for answer in operation["responses"].values())
    asking = "" if method == "get" else f" -X {method.upper()}"
    yield f'curl{" -N" if is_live else ""}{asking} "{ORIGIN}{_address(path)}"'
    if operation["security"]:
        yield '-H "Authorization: Bearer $MONITOR_TOKEN"'
    content = operation.get("requestBody", {}).get("content", {})
    if content:
        media_type = next(iter(content))
        said = json.dumps(example(content[media_type]["schema"], schemas))
        yield f'-H "Content-Type: {media_type}"'
        yield f"-d '{said}'"


def _address(path: str) -> str:
    return re.sub(r"(\w+)/\{\w+\}", lambda found: f"{found[1]}/{_IDS.get(found[1], 'ID')}", path)


def example(schema: Json, schemas: Json) -> Any:
    """The least that fits the schema, of what it tells."""
    if "$ref" in schema:
        return example(schemas[schema["$ref"].rpartition("/")[2]], schemas)
    if "const" in schema or schema.get("enum"):
        return schema["const"] if "const" in schema else schema["enum"][0]
    for choice in (*schema.get("anyOf", ()), *schema.get("oneOf", ()), *schema.get("allOf", ())):
        return example(choice, schemas)
    kind = schema.get("type", "string")
    if "properties" in schema:
        wanted = schema.get("required") or list(schema["properties"])[:1]
        return {
            name: _NAMED[name] if name in _NAMED else example(schema["properties"][name], schemas) for name in wanted
        }
    if kind == "array":
        return [example(schema["items"], schemas)]
    return _PLAIN[kind if isinstance(kind, str) else kind[0]]
