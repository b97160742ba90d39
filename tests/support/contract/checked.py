"""Every answer that a test gets is held against the contract: `httpx.AsyncClient(..., event_hooks=CHECKED)`.

What the contract does not tell fails the test that met it: a status, a missing header, a type of content, or a member
of the body. Files and streams are told by status and type alone. Addresses outside the contract are not looked at.
"""

import json
import re
from collections.abc import Mapping
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any, Final

import httpx
import jsonschema
from jsonschema.exceptions import best_match

_FILE: Final = Path(__file__).parents[3] / "schemas" / "openapi.json"
"""As it is served, which a test of its own sees to; `scripts/schemas` writes it anew."""

_MOST_BYTES: Final = 256 * 1024
"""Of a body that is looked at: larger ones repeat what small ones show, and take seconds."""

Json = dict[str, Any]


async def check(response: httpx.Response) -> None:
    """Raise AssertionError where the contract does not tell this answer."""
    found = _operation(response.request.method, response.request.url.raw_path.partition(b"?")[0].decode())
    if found is None:
        return
    path, method = found
    told = _contract()["paths"][path][method]["responses"].get(str(response.status_code))
    asked = f"{method.upper()} {path} answered {response.status_code}"
    if told is None:
        await response.aread()
        raise AssertionError(f"{asked}, which the contract does not tell: {response.text[:500]}")
    missing = [
        name for name, it in told.get("headers", {}).items() if it.get("required") and name not in response.headers
    ]
    assert not missing, f"{asked} without {missing}"
    if response.request.method != "HEAD":
        await _check_content(response, asked, (path, method, str(response.status_code)), told.get("content", {}))


CHECKED: Final[Mapping[str, Any]] = {"response": [check]}
"""For `event_hooks` of a client."""


def faults_of(schema: str, document: object) -> list[str]:
    """What a document has that its schema, one of the contract's components, does not tell."""
    return [f"{schema}{fault.json_path[1:]}: {fault.message[:500]}" for fault in _shape(schema).iter_errors(document)]


async def _check_content(response: httpx.Response, asked: str, at: tuple[str, str, str], content: Json) -> None:
    media_type = response.headers.get("content-type", "").partition(";")[0]
    if not content:
        assert not await response.aread(), f"{asked} with content, which the contract does not tell"
        return
    assert media_type in content, f"{asked} with '{media_type}'; the contract tells {list(content)}"
    if media_type != "application/json" or "content-disposition" in response.headers:
        return
    body = await response.aread()
    if len(body) > _MOST_BYTES:
        return
    fault = best_match(_validator(*at).iter_errors(json.loads(body)))
    assert fault is None, f"{asked} with {fault.json_path}: {fault.message[:500]}"


@cache
def _contract() -> Json:
    contract: Json = json.loads(_FILE.read_bytes())
    return contract


@cache
def _validator(path: str, method: str, status: str) -> jsonschema.Draft202012Validator:
    answer = _contract()["paths"][path][method]["responses"][status]
    schema = {**answer["content"]["application/json"]["schema"], "components": _contract()["components"]}
    return jsonschema.Draft202012Validator(schema, format_checker=_FORMATS)


@cache
def _shape(schema: str) -> jsonschema.Draft202012Validator:
    told = {"$ref": f"#/components/schemas/{schema}", "components": _contract()["components"]}
    return jsonschema.Draft202012Validator(told, format_checker=_FORMATS)


_FORMATS: Final = jsonschema.FormatChecker(())


@_FORMATS.checks("date-time", raises=ValueError)
def _is_time(said: object) -> bool:
    return not isinstance(said, str) or datetime.fromisoformat(said).tzinfo is not None


@cache
def _addresses() -> list[tuple[re.Pattern[str], str]]:
    """Named ones before those with a parameter in their place."""
    paths = sorted(_contract()["paths"], key=lambda path: [segment.startswith("{") for segment in path.split("/")])
    return [(re.compile(re.sub(r"\{\w+\}", "[^/]+", path)), path) for path in paths]


def _operation(method: str, path: str) -> tuple[str, str] | None:
    """(address, method) in the contract; None for what is not in it."""
    address = next((it for pattern, it in _addresses() if pattern.fullmatch(path)), None)
    wanted = "get" if method == "HEAD" else method.lower()
    return (address, wanted) if address is not None and wanted in _contract()["paths"][address] else None
